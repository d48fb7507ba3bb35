"""What comes from a file is a name or a number, or it is refused: paths, NaN, and what merely looks like either."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import create_engine, text

from siamese_med.dicom_export import export
from siamese_med.errors import CatalogueError, ConfigError, EmptyInputError, InputError, MissingFileError, ModelError
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.pipeline import stages
from siamese_med.reporting.model import reference_figures
from siamese_med.runtime import untrusted_input
from siamese_med.scoring import score_table
from siamese_med.study import config, score_tables
from siamese_med.study.model_info import ModelInfo
from siamese_med.study.model_metrics import read_model_metrics
from siamese_med.study.tables import METHOD_ATTRIBUTE, Study
from siamese_med.training import current_model_record, model_registry
from tests import trained
from tests.commands import siamese_med, write_nifti

PATHS = ("../x", "/x", "a/b", "..", ".", ".x", "", "a\\b", "a\0b", "a\nb", "é" * 150)


@pytest.mark.parametrize("name", [*PATHS, None, 3, 2.5, True, ["a"]])
def test_what_is_a_path_or_no_text_is_no_name(name: Any) -> None:
    assert not untrusted_input.is_safe_name(name)


@pytest.mark.parametrize("name", ["supcon-4c1e9a7f20b3", "sub-x_ses-1_FLAIR", "a..b", "bestes Modell (März)"])
def test_what_a_folder_may_be_called_is_a_name(name: str) -> None:
    assert untrusted_input.is_safe_name(name)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "", "a\0b", "a\\..\\b", None, 3])
def test_what_leads_out_of_its_folder_is_no_path_inside(path: Any) -> None:
    assert not untrusted_input.is_safe_relative_path(path)


def test_what_stays_in_its_folder_is_a_path_inside() -> None:
    assert untrusted_input.is_safe_relative_path("scans/sub-x/ses-1/sub-x_ses-1_FLAIR.nii.gz")


@pytest.mark.parametrize(
    "content", ["[NaN]", '{"a": {"b": [1, -Infinity]}}', "Infinity", "[1e999]", "[" * 100_000, "{"]
)
def test_json_without_numbers_is_no_json(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError):  # noqa: PT011 - any of its kinds
        untrusted_input.read_untrusted_json(tmp_path / "a.json")


def sections() -> list[str]:
    """Every setting that takes a number with a fraction, as TOML names it."""
    whole = config.Config()
    return [
        f"{section}.{name}"
        for section in type(whole).model_fields
        for name, field in type(getattr(whole, section)).model_fields.items()
        if "float" in str(field.annotation)
    ]


@pytest.mark.parametrize("setting", sections())
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_setting_that_is_no_number_is_refused(tmp_path: Path, setting: str, value: str) -> None:
    section, _, name = setting.partition(".")
    (tmp_path / "config.toml").write_text(f"[{section}]\n{name} = {value}\n")
    with pytest.raises(ConfigError) as caught:
        config.load_config(tmp_path / "config.toml")
    assert "\n" not in str(caught.value)
    assert setting in str(caught.value)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("score", "significance = true"),
        ("score", "significance = 0"),
        ("score", "significance = 1.0"),
        ("train", "epochs = true"),
        ("pair", "seed = false"),
        ("prepare", "shape = [true, 24, 24]"),
        ("prepare", "spacing_mm = true"),
    ],
)
def test_a_switch_or_a_limit_that_decides_nothing_is_no_number(tmp_path: Path, section: str, line: str) -> None:
    (tmp_path / "config.toml").write_text(f"[{section}]\n{line}\n")
    with pytest.raises(ConfigError, match=f"'{section}.{line.partition(' ')[0]}' input should be ") as caught:
        config.load_config(tmp_path / "config.toml")
    assert "\n" not in str(caught.value)


def test_switches_stay_switches(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        "[ingest]\ndeface = true\n[train.encoder_args]\nbias = true\n[score]\nsignificance = 0.001\n"
    )
    settings = config.load_config(tmp_path / "config.toml")
    assert settings.ingest.deface is True
    assert settings.train.encoder_args == {"bias": True}
    assert settings.score.significance == 0.001


@pytest.mark.parametrize("record", ['"../../x"', '"/tmp/x"', '".x"', "7"])
def test_the_model_in_use_is_named_by_no_path(tmp_path: Path, record: str) -> None:
    study = Study(tmp_path / "data")
    study.data.mkdir()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "model.json").write_text("{}")
    (study.data / current_model_record.CURRENT_MODEL_FILE).write_text(
        f'{{"model": {record}, "since": "", "why": "", "decisions": {{}}}}'
    )
    with pytest.raises(ModelError) as caught:
        model_registry.find_current_model(study)
    assert "\n" not in str(caught.value)


def test_a_best_figure_that_is_none_lets_no_model_in(tmp_path: Path) -> None:
    study = Study(tmp_path)
    stored = '{"model": "m", "since": "", "why": "", "best": {"identity": NaN}, "decisions": {}}'
    (tmp_path / current_model_record.CURRENT_MODEL_FILE).write_text(stored)
    with pytest.raises(ModelError, match="cannot be read"):
        current_model_record.read_current_record(study)


def test_a_renamed_model_is_promoted_by_its_id_and_by_its_folder(tmp_path: Path) -> None:
    study = Study(tmp_path / "data")
    (study.models / "renamed").mkdir(parents=True)
    (study.models / "renamed" / "model.json").write_text(json.dumps(trained.model_json(id="supcon-0")))
    assert model_registry.set_current_model(study, "supcon-0", "by hand").model == "renamed"
    assert model_registry.set_current_model(study, "renamed", "by hand").model == "renamed"
    assert model_registry.find_current_model(study) == study.models / "renamed"
    for name in ("supcon-1", "../models/renamed", "."):
        with pytest.raises(MissingFileError):
            model_registry.set_current_model(study, name, "by hand")


def write_results(study: Study, model: ModelInfo, **changes: Any) -> None:
    score_tables.remove_tables_of_other_model(study, model)
    score = {"scan_a": "sub-a_ses-1_T1w", "scan_b": "sub-a_ses-2_T1w", "subject_a": "sub-a", "subject_b": "sub-a"}
    score |= {
        "kind": "follow_up",
        "split": "new",
        "comparable": True,
        "reasons": [],
        "similarity": 1.0,
        "distance": 0.0,
    }
    score |= {"map": None, "pictures": "scores/supcon-0/pair.npz"}
    owner = {"scan": "sub-a_ses-1_T1w", "subject": "sub-a", "alarm": False, "owner": None}
    owner |= {"evidence": 1.0, "owner_evidence": None}
    for row in (score, owner):
        row.update({key: value for key, value in changes.items() if key in row})
    pd.DataFrame([score]).to_parquet(study.scores("supcon-0"))
    pd.DataFrame([owner]).to_parquet(study.owners("supcon-0"))


@pytest.mark.parametrize(("recorded", "present", "shown"), [(20, 20, True), (20, 21, False), (None, 20, False)])
def test_pages_show_no_scores_of_another_method(
    recorded: int | None, present: int, shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, model = Study(tmp_path), trained.model_info(id="supcon-0")
    write_results(study, model)
    table = pd.read_parquet(study.scores("supcon-0"))
    table.attrs = {} if recorded is None else {METHOD_ATTRIBUTE: recorded}
    table.to_parquet(study.scores("supcon-0"))
    monkeypatch.setattr(score_table, "SCORE_METHOD_VERSION", present)
    with nullcontext() if shown else pytest.raises(InputError, match=r"another version .*: run `siamese-med score`"):
        score_table.read_tables_of_this_method(study, model)


def test_results_are_of_the_model_that_they_were_made_by(tmp_path: Path) -> None:
    study, other = (
        Study(tmp_path),
        trained.model_info(id="supcon-0", evidence={"slope": -7.3, "intercept": 5.2, "alarm": 2.0}),
    )
    write_results(study, trained.model_info(id="supcon-0"))
    score_tables.remove_tables_of_other_model(
        study, trained.model_info(id="supcon-0")
    )  # the same model again, whatever its folder is called
    assert len(score_tables.read_score_tables(study, trained.model_info(id="supcon-0"))[0]) == 1
    with pytest.raises(EmptyInputError, match="no scores of the model supcon-0"):
        score_tables.read_score_tables(study, other)
    score_tables.remove_tables_of_other_model(study, other)
    assert not study.scores("supcon-0").exists()
    for model in (trained.model_info(id="supcon-0"), other):
        with pytest.raises(EmptyInputError):
            score_tables.read_score_tables(study, model)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("scan_b", "sub-a_../../../x_T1w"),
        ("subject_a", "../sub-a"),
        ("map", "../../etc/passwd"),
        ("map", "/etc/passwd"),
        ("pictures", "scores/../../x.npz"),
        ("owner", "../x"),
        ("scan", "/x"),
    ],
)
def test_a_score_table_with_a_path_for_a_name_is_refused(tmp_path: Path, column: str, value: str) -> None:
    write_results(study := Study(tmp_path), trained.model_info(id="supcon-0"), **{column: value})
    with pytest.raises(InputError, match=column) as caught:
        score_tables.read_score_tables(study, trained.model_info(id="supcon-0"))
    assert "\n" not in str(caught.value)
    assert value not in str(caught.value)


def test_a_pair_table_with_a_path_for_a_name_is_refused(tmp_path: Path) -> None:
    row = {"scan_a": "a", "scan_b": "../b", "subject_a": "sub-a", "subject_b": "sub-a"}
    pd.DataFrame([row]).to_parquet((study := Study(tmp_path)).pairs)
    with pytest.raises(InputError, match="scan_b"):
        stages.read_pairs(study)
    study.pairs.write_bytes(b"not a table")
    with pytest.raises(InputError, match="cannot be read"):
        stages.read_pairs(study)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of one scan."""
    folder = tmp_path_factory.mktemp("ingested")
    write_nifti(folder / "input" / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    study = Study(folder / "data", folder / "reports")
    stages.ingest(folder / "input", study)
    return study


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", "../../x"),
        ("subject", "../x"),
        ("session", "a/b"),
        ("path", "/etc/x"),
        ("path", "scans/../../x"),
        ("mask", "../m"),
    ],
)
def test_a_catalogue_with_a_path_for_a_name_is_refused(
    ingested: Study, tmp_path: Path, column: str, value: str
) -> None:
    url = f"sqlite:///{tmp_path / 'catalogue.sqlite'}"
    (tmp_path / "catalogue.sqlite").write_bytes((ingested.data / "catalogue.sqlite").read_bytes())
    assert len(catalogue.read_scan_table(url)) == 1
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"update scan set {column} = :value"), {"value": value})
    engine.dispose()
    with pytest.raises(CatalogueError, match=column) as caught:
        catalogue.read_scan_table(url)
    assert "\n" not in str(caught.value)
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"later_session": "../../x"}, "unsafe file name"),
        ({"later_session": None}, "unsafe file name"),
        ({"number": "../1"}, "unsafe file name"),
        ({"map": "/etc/passwd"}, "unsafe file name"),
        ({"role": None}, None),
        ({}, None),
    ],
)
def test_a_report_with_a_path_for_a_name_gives_no_objects(
    tmp_path: Path, change: dict[str, Any], words: str | None
) -> None:
    pair = {"role": "newest", "number": 1, "later_session": "ses-2", "map": None, "identity_judged": True, **change}
    (tmp_path / "sub-a").mkdir()
    (tmp_path / "sub-a" / "report.json").write_text(json.dumps({"claim": {"withheld": False}, "pairs": [pair]}))
    if words is None:
        assert len(list(export._read_exported_pairs(tmp_path))) == (0 if change else 1)
        return
    with pytest.raises(InputError, match=words):
        list(export._read_exported_pairs(tmp_path))


@pytest.mark.parametrize("content", ['{"audit": {"limit": NaN}}', "{", "[1]"])
def test_figures_that_are_no_numbers_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.json").write_text(json.dumps(trained.model_json()))
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(ModelError) as caught:
        read_model_metrics(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r"metrics\.json"):
        reference_figures.read_model_folder(tmp_path)


def test_a_template_of_the_config_that_is_none_is_said_in_one_line(ingested: Study, tmp_path: Path) -> None:
    (tmp_path / "text.nii.gz").write_text("not a NIfTI")
    for name, word in (("text.nii.gz", "cannot be read"), ("nowhere.nii.gz", "is not there")):
        (tmp_path / "config.toml").write_text(f'[prepare]\ntemplate = "{tmp_path / name}"\n')
        call = ["prepare", "--data", ingested.data, "--config", tmp_path / "config.toml", "--no-prefect"]
        done = siamese_med(*call, cwd=tmp_path)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert word in done.stderr
