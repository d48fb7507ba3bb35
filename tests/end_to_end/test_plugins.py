"""The whole line with a plug-in of each kind, by configuration alone, through worker processes to the pages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from siamese_med.imaging import volume
from tests import plugin_package, studies
from tests.commands import ROOT, siamese_med_process
from tests.plugin_package import NAMES

pytestmark = pytest.mark.long  # it trains and scores a study of its own

RECOMPUTE = """
import json, sys
from pathlib import Path
import pandas as pd
import siamese_med
from siamese_med.scoring.change import detectors, noise_floor, pair_measurement, pair_scoring
from siamese_med.scoring.change.scan_side import ScanReader
from siamese_med.study.model_info import read_model_info
config = siamese_med.load_config(Path("config.toml"))
study = siamese_med.Study(Path("study/data").absolute(), Path("study/reports").absolute(), config)
model = siamese_med.current_model(study)
info = read_model_info(model)
scores = pd.read_parquet(study.scores(info.id))
rows = siamese_med.prepare(study, model).scans(siamese_med.scans(study))
pair = scores[scores.change_z.notna()].iloc[0]
reader = ScanReader(study.data)
sides = [reader.read_side(rows[scan]) for scan in (pair.scan_a, pair.scan_b)]
found = {"table": float(pair.change_z)}
own = detectors.build_model_detector(info, model, config.score)
for name, detector in (("own", own), ("other", detectors.build_residual_detector(config.score))):
    measured = pair_measurement.measure_pair(*sides, config.score.spacing_mm, detector)
    known, grown = (one.of(pair_measurement.find_pair_stratum(*sides)) for one in noise_floor.make_floors(info))
    found[name] = max(known.z(measured.finding), grown.z(measured.growth))
print(json.dumps(found))
"""
"""The change of the first pair by the detector of the model, and by the built-in one."""


@dataclass(frozen=True)
class Tracked:
    """A working folder with a study that was tracked with plug-ins, and what the command answered."""

    folder: Path
    answer: dict[str, Any]

    @property
    def about(self) -> dict[str, Any]:
        """Its only model's description."""
        (path,) = self.folder.glob("study/data/models/*/model.json")
        described: dict[str, Any] = json.loads(path.read_text())
        return described


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    """A run with the package of docs/plugins.md on PYTHONPATH; one file of the export is a label map."""
    folder = tmp_path_factory.mktemp("plugins")
    manifest = studies.write_export(folder / "export")
    scan = volume.read_volume(folder / "export" / "p0_v0_FLAIR.nii.gz")
    mean = scan.voxels.mean()  # three labels: a file with two values is known as a mask
    labels = volume.Volume(((scan.voxels > mean) + 1 * (scan.voxels > 2 * mean)).astype(np.int16), scan.affine)
    volume.write_volume(folder / "export" / "labels.nii.gz", labels)
    row = {"subject": "p0", "session": 2, "path": "labels.nii.gz", "date": "2022-03-01", "changed": 0}
    rows = pd.concat([pd.read_csv(manifest), pd.DataFrame([row])])
    rows.assign(contrast="unknown").to_csv(manifest, index=False)
    (folder / "config.toml").write_text(_merged(studies.CONFIG_TOML, plugin_package.whole_config()))
    plugin_package.write_package(folder / "elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder / "elsewhere"))
        done = siamese_med_process(
            "run", "export/manifest.csv", "--data", "study/data", "--reports", "study/reports", "--config",
            "config.toml", "--no-prefect", "--json", cwd=folder,
        )  # fmt: skip
    assert done.returncode in (0, 4), done.stderr
    return Tracked(folder, json.loads(done.stdout))


def _merged(small: str, named: str) -> str:
    """Two TOML texts as one: what both say of a section stands together."""
    sections: dict[str, list[str]] = {}
    for text in (small, named):
        heading = ""
        for line in text.splitlines():
            heading = line if line.startswith("[") else heading
            sections.setdefault(heading, [])
            sections[heading] += [] if line.startswith("[") else [line]
    return "\n".join(line for heading, lines in sections.items() for line in (heading, *lines))


def test_the_model_names_its_plug_ins_and_is_named_after_its_loss(tracked: Tracked) -> None:
    assert tracked.about["id"].startswith("softmargin-")
    assert {one["kind"]: one["target"] for one in tracked.about["plugins"]} == {
        "encoder": NAMES["encoders"],
        "loss": NAMES["losses"],
        "detector": NAMES["detectors"],
        "registration": NAMES["registrations"],
        "transform": NAMES["transforms"],
    }
    weights = next(tracked.folder.glob("study/data/models/*/models/model.safetensors")).read_bytes()
    assert b"encoder.layers.0.weight" in weights


def test_the_detector_that_is_named_gives_the_verdicts(tracked: Tracked) -> None:
    change = tracked.about["change"]
    assert change["detector"] == NAMES["detectors"]
    assert {NAMES["detectors"], "residual"} <= set(change["auc"])
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tracked.folder / 'elsewhere'}"}
    asked = [sys.executable, "-c", RECOMPUTE]
    done = subprocess.run(asked, cwd=tracked.folder, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout)
    assert found["own"] == pytest.approx(found["table"], abs=1e-4)
    assert abs(found["other"] - found["table"]) > 0.01


def test_scans_lie_where_the_registration_has_laid_them(tracked: Tracked) -> None:
    (path,) = tracked.folder.glob("study/data/prepared/*/alignments.parquet")
    table = pd.read_parquet(path)
    assert len(table) == studies.PATIENTS * studies.VISITS
    assert table.ok.mean() > 0.5  # it compares intensities, and the export mixes contrasts
    assert tracked.answer["aligned"] == table.ok.sum()


def test_the_check_refused_the_label_map_with_its_own_word(tracked: Tracked) -> None:
    account = tracked.answer["account"]
    assert account["reasons"] == {"label_map": 1}
    assert account["ingested"] == studies.PATIENTS * studies.VISITS
    page = (tracked.folder / "study/reports/ingest.html").read_text()
    assert "A mask or a label map, not a scan; export the measured volume." in page


def test_the_pages_are_there(tracked: Tracked) -> None:
    assert tracked.answer["comparable"] > 0
    assert len(list(tracked.folder.glob("study/reports/sub-*/report.html"))) == studies.PATIENTS
    assert NAMES["detectors"] in (tracked.folder / "study/reports/model.html").read_text()


def test_without_the_package_one_line_says_what_is_missing(tracked: Tracked) -> None:
    (tracked.folder / "plain.toml").write_text(studies.CONFIG_TOML)
    (model,) = tracked.folder.glob("study/data/models/*/model.json")
    scans = sorted((tracked.folder / "export").glob("p0_v*.nii.gz"))
    done = siamese_med_process("compare", *scans, "--model", model.parent, "--config", "plain.toml", cwd=tracked.folder)
    assert done.returncode == 2
    assert "needs the encoder my_plugins.encoders:SmallEncoder" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
