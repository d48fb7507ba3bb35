"""What others may rely on: the names of the package, and how little importing it costs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import siamese_med
from siamese_med.pipeline import single_scans, stages
from siamese_med.reporting.write import json_tsv
from siamese_med.reporting.write.ingest_tsv import INGEST_TSV_COLUMNS
from siamese_med.study.lesion import LESION_COLUMNS
from siamese_med.study.prepared_scans import ALIGNMENT_COLUMNS
from siamese_med.study.tables import OWNER_COLUMNS, PAIR_COLUMNS, SCAN_COLUMNS, SCORE_COLUMNS
from tests.commands import ROOT, write_nifti
from tests.commands import siamese_med as call

HEAVY = ("torch", "monai", "numpy", "pandas", "prefect", "pydicom", "nibabel", "sqlalchemy", "pydantic", "matplotlib")


def loaded_by(code: str) -> set[str]:
    """Which heavy packages a fresh interpreter holds after running `code`."""
    ask = f"{code}\nimport sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_the_verbs_are_functions_of_the_package() -> None:
    for verb in ("ingest", "prepare", "build_pairs", "train", "score", "report"):
        assert getattr(siamese_med, verb) is getattr(stages, verb)
    assert (siamese_med.compare, siamese_med.identify) == (single_scans.compare, single_scans.identify)


def test_the_public_names_are_these() -> None:
    assert set(siamese_med.__all__) == {
        "Config", "IngestAccount", "IngestResult", "LongitudinalDataset", "PairSampler", "PreparedStudy", "Pull",
        "ReportExtras", "ReportResult", "SiameseMedError", "Study", "build_pairs", "compare", "current_model", "errors",
        "identify", "ingest", "load_config", "prepare", "promote", "report", "scans", "score", "simulate", "train",
    }  # fmt: skip
    assert all(hasattr(siamese_med, name) for name in siamese_med.__all__)
    assert not hasattr(siamese_med, "no_such_name")


def test_importing_the_package_or_the_command_line_loads_nothing_heavy() -> None:
    assert loaded_by("import siamese_med") == set()
    assert loaded_by("import siamese_med.cli.main") == set()


def test_importing_stages_or_outcomes_loads_no_network() -> None:
    assert loaded_by("import siamese_med.pipeline.stage_results") <= {"pydantic"}


def test_ingest_and_pair_run_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torch", "monai"):
        monkeypatch.setitem(sys.modules, package, None)  # it cannot be imported
    for visit in (1, 2):
        write_nifti(tmp_path / "input" / f"sub-01_ses-{visit}_T1w.nii.gz", seed=visit)
    for command in (["ingest", "input", "--no-prefect"], ["pair", "--no-prefect"], ["status"]):
        done = call(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_paths_may_be_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert siamese_med.Study("a", "b") == siamese_med.Study(Path("a"), Path("b"))
    assert siamese_med.Study("a").scans == Path("a/scans")
    Path("c.toml").write_text("[train]\nepochs = 3\n")
    assert siamese_med.load_config("c.toml").train.epochs == 3
    write_nifti(tmp_path / "input" / "sub-01_ses-1_T1w.nii.gz")
    study = siamese_med.Study("data", "reports")
    assert len(siamese_med.ingest("input", study).scans) == 1
    assert siamese_med.promote(study, "data/models/starter").model == "starter"
    with pytest.raises(siamese_med.errors.MissingFileError):
        siamese_med.score(study, "nowhere")


def test_every_error_is_public_and_of_one_family() -> None:
    assert issubclass(siamese_med.errors.ManifestError, siamese_med.SiameseMedError)
    assert loaded_by("import siamese_med; siamese_med.errors.InputError") == set()


def test_every_column_that_is_returned_is_documented() -> None:
    python, scores = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("python.md", "columns.md"))
    table = "\n".join(line for line in python.splitlines() if line.startswith("|"))
    assert [name for name in (*SCAN_COLUMNS, *ALIGNMENT_COLUMNS) if f"`{name}`" not in table] == []
    assert [name for name in (*PAIR_COLUMNS, *SCORE_COLUMNS) if f"| `{name}` |" not in scores] == []


def test_every_column_of_every_written_table_is_documented() -> None:
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    sections = {part.splitlines()[0]: part for part in page.split("\n## ")[1:]}
    named = {
        title: {
            name for row in re.findall(r"^\| (`[^|]+) \|", part, re.MULTILINE) for name in row.strip("`").split("`, `")
        }
        for title, part in sections.items()
    }
    assert named == {
        "`reports/cohort.tsv`": set(json_tsv.format_cohort_tsv([]).split()),
        "`reports/ingest.tsv`": set(INGEST_TSV_COLUMNS),
        "`lesions.tsv` and `data/lesions.parquet`": {*json_tsv.LESION_TSV_COLUMNS, *LESION_COLUMNS},
        "`data/scores/*_owners.parquet`": set(OWNER_COLUMNS),
    }
