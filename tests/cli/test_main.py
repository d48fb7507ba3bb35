"""The command line from outside: help, errors in one line, exit codes, one JSON object."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from siamese_med.cli.console_output import CommandResult, to_json_value
from siamese_med.study import config
from tests.commands import ROOT, siamese_med, siamese_med_process, write_nifti

COMMANDS = ["run", "ingest", "prepare", "pair", "train", "score", "report", "compare", "identify"]
COMMANDS += ["export", "demo", "config", "status", "promote", "answers", "reveal", "serve", "trigger"]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a hospital might export it, named after a patient: one good scan, one file that is no image."""
    folder = tmp_path_factory.mktemp("study") / "MUELLER_HANS_19500101"
    write_nifti(folder / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_T1w.nii.gz")
    (folder / "broken.nii.gz").write_bytes(b"not an image at all")
    return folder


def test_help_answers_without_the_imports_of_torch() -> None:
    """Python itself says what it imports: how long that takes depends on the machine and on what else it does."""
    command = [sys.executable, "-m", "siamese_med", "--help"]
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert all(f" {name} " in result.stdout for name in COMMANDS)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert {"typer", "siamese_med"} <= imported
    assert not {"torch", "monai", "prefect", "lightning_fabric", "scipy", "pandas", "pydicom", "nibabel"} & imported


def test_a_library_that_is_slow_in_a_new_home_adds_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = logging.getLogger("matplotlib.font_manager")
    monkeypatch.setattr(log, "level", logging.NOTSET)
    assert siamese_med("config", cwd=tmp_path).returncode == 0
    assert not log.isEnabledFor(logging.WARNING)


@pytest.mark.parametrize(("patients", "own_model"), [(7, False), (8, True)])
def test_a_demo_that_can_train_no_model_has_the_starter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patients: int, own_model: bool
) -> None:
    """The cohort is simulated later than its settings are written: the file alone is looked at."""
    monkeypatch.setattr("siamese_med.pipeline.stages.simulate", lambda *_: 1 / 0)
    siamese_med("demo", "--patients", str(patients), "--no-prefect", cwd=tmp_path)
    assert config.load_config(tmp_path / "demo" / "demo.toml").promote.starter_model is not own_model


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_the_common_options(command: str, tmp_path: Path) -> None:
    result = siamese_med(command, "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert all(option in result.stdout for option in ("--json", "--strict", "--quiet"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ingest", "nowhere"], 2, "INPUT is not there"),
        (["run", "nowhere"], 2, "INPUT is not there"),
        (["run", ".", "--model", "nowhere"], 2, "--model is not there"),
        (["compare", "a.nii", "b.nii", "--model", "."], 2, "a scan is not there"),
        (["status", "--config", "nowhere.toml"], 2, "no config file"),
        (["config", "--config", "unknown.toml"], 2, "unknown key 'train.epoch'"),
        (["config", "--config", "syntax.toml"], 2, "is not TOML"),
        (["config", "--config", "range.toml"], 2, "'pair' value error, validation_share + test_share must be below 1"),
        (["ingest"], 2, "Missing argument 'INPUT'"),
        (["status", "--no-such-option"], 2, "No such option"),
        (["bogus"], 2, "No such command"),
        (["ingest", "empty", "--no-prefect"], 3, ""),
        (["score", "--no-prefect", "--config", "own.toml"], 2, "no model under"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_an_error_is_one_line_and_an_exit_code(
    arguments: list[str], code: int, words: str, as_json: bool, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "unknown.toml").write_text("[train]\nepoch = 3\n")
    (tmp_path / "own.toml").write_text("[promote]\nstarter_model = false\n")
    (tmp_path / "syntax.toml").write_text("train epochs\n")
    (tmp_path / "range.toml").write_text("[pair]\nvalidation = 0.6\ntest = 0.6\n")
    result = siamese_med(*arguments, *(["--json"] if as_json else []), cwd=tmp_path)
    assert result.returncode == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("siamese-med: ")]
    assert len(lines) == 1
    assert words in lines[0]
    assert "Traceback" not in result.stderr
    if as_json:
        assert json.loads(result.stdout)["exit_code"] == code
    else:
        assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["config", "--quiet"], 0), (["run", "nowhere"], 2), (["bogus"], 2), (["ingest", "empty", "--no-prefect"], 3)],
)
def test_a_process_of_its_own_ends_as_the_command_does(arguments: list[str], code: int, tmp_path: Path) -> None:
    """The other tests call the command line in their own process."""
    (tmp_path / "empty").mkdir()
    here = os.getpid()
    process, called = (run(*arguments, cwd=tmp_path) for run in (siamese_med_process, siamese_med))
    assert os.getpid() == here  # a supervisor's worker would go on with the tests
    assert (process.returncode, process.stdout, process.stderr) == (code, called.stdout, called.stderr)
    assert called.returncode == code


def test_config_prints_what_config_reads(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[train]\nepochs = 3\n")
    printed = siamese_med("config", "--config", "mine.toml", cwd=tmp_path).stdout
    (tmp_path / "printed.toml").write_text(printed)
    assert config.load_config(tmp_path / "printed.toml") == config.load_config(tmp_path / "mine.toml")
    assert config.load_config(tmp_path / "printed.toml").train.epochs == 3


def test_status_of_an_empty_study_names_the_first_step_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    result = siamese_med("status", "--json", cwd=tmp_path)
    facts = json.loads(result.stdout)
    assert facts["next_step"] == "siamese-med ingest INPUT"
    assert facts["scans"] == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


def test_status_of_a_folder_that_is_not_there_is_no_empty_study(tmp_path: Path) -> None:
    result = siamese_med("status", "--data", "mistyped", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "no study at --data" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_files_that_nothing_names_are_said_to_be_patients_of_their_own(tmp_path: Path) -> None:
    for number in (1, 2):
        write_nifti(tmp_path / "plain" / f"visit{number}_t1.nii.gz", seed=number)
    result = siamese_med("ingest", "plain", "--no-prefect", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 patients named by nothing but the place of a file" in " ".join(result.stdout.split())
    assert siamese_med("ingest", "plain", "--no-prefect", "--strict", cwd=tmp_path).returncode == 5


def test_ingest_in_part_exits_with_4_and_prints_one_object(export: Path, tmp_path: Path) -> None:
    result = siamese_med("ingest", export, "--no-prefect", "--json", cwd=tmp_path)
    assert result.returncode == 4, result.stderr
    facts = json.loads(result.stdout)
    outcomes = [facts[name] for name in ("ingested", "skipped", "duplicate", "quarantined")]
    assert facts["files_seen"] == sum(outcomes) == 2
    assert facts["quarantined"] == 1
    (scan,) = facts["scans"]
    contrast = {"contrast", "contrast_source", "contrast_confidence"}
    known = {"id", "subject", "session", "modality", "shape", "spacing_mm", "affine", "path", "flags"}
    assert set(scan) == known | contrast
    assert scan["shape"] == [12, 12, 12]
    assert np.allclose(scan["spacing_mm"], 3.0)
    assert (tmp_path / "data" / scan["path"]).is_file()


def test_ingest_leaves_a_page_and_status_says_where_and_why(export: Path, tmp_path: Path) -> None:
    result = siamese_med("ingest", export, "--no-prefect", cwd=tmp_path)
    assert result.stdout.rstrip().endswith("reports/ingest.html")
    facts = json.loads(siamese_med("status", "--json", cwd=tmp_path).stdout)
    assert Path(facts["files_page"]) == tmp_path / "reports" / "ingest.html"
    (reason,) = facts["reasons"]
    assert (reason["reason"], reason["files"]) == ("not_an_image", 1)
    assert "convert" in reason["hint"]
    assert (tmp_path / "reports" / "ingest.tsv").is_file()


def test_strict_turns_quarantined_files_into_5(export: Path, tmp_path: Path) -> None:
    result = siamese_med("ingest", export, "--no-prefect", "--strict", cwd=tmp_path)
    assert result.returncode == 5, result.stderr
    assert "1 file quarantined" in result.stdout


def test_the_source_folder_is_named_nowhere(export: Path, tmp_path: Path) -> None:
    result = siamese_med("ingest", export, "--no-prefect", "--json", cwd=tmp_path)
    assert "MUELLER" not in result.stdout + result.stderr
    for path in tmp_path.rglob("*"):
        assert "MUELLER" not in str(path.relative_to(tmp_path))
        assert path.is_dir() or b"MUELLER" not in path.read_bytes(), path


def test_nothing_usable_exits_with_3_and_still_gives_the_account(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "letter.txt").write_text("no scan here")
    result = siamese_med("ingest", "input", "--no-prefect", "--json", cwd=tmp_path)
    assert result.returncode == 3, result.stderr
    facts = json.loads(result.stdout)
    assert facts["files_seen"] == 1
    assert facts["scans"] == []
    assert facts["error"]


def test_quiet_leaves_only_the_answer(export: Path, tmp_path: Path) -> None:
    result = siamese_med("ingest", export, "--no-prefect", "--json", "--quiet", cwd=tmp_path)
    assert json.loads(result.stdout)["ingested"] == 1
    assert result.stderr == ""


def test_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    result = siamese_med("ingest", "nowhere", "--debug", cwd=tmp_path)
    assert "Traceback" in result.stderr
    assert "MissingFileError" in result.stderr
    assert result.returncode == 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (math.inf, None),
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([[1.0, math.nan]]), [[1.0, None]]),
        ((1, "a", None), [1, "a", None]),
        ({"a": {"b": np.array([1])}}, {"a": {"b": [1]}}),
        (Path("a/b"), "a/b"),
        (True, True),
    ],
    ids=repr,
)
def test_plain_speaks_json(value: object, expected: object) -> None:
    assert to_json_value(value) == expected
    json.dumps(to_json_value(value), allow_nan=False)


@pytest.mark.parametrize(
    ("answer", "strict", "code"),
    [
        (CommandResult({}), False, 0),
        (CommandResult({}), True, 0),
        (CommandResult({}, unfinished=("a",)), False, 4),
        (CommandResult({}, unfinished=("a",)), True, 4),
        (CommandResult({}, failed_checks=("a",)), False, 0),
        (CommandResult({}, unfinished=("a",), failed_checks=("a",)), True, 5),
    ],
)
def test_exit_codes(answer: CommandResult, strict: bool, code: int) -> None:
    assert answer.exit_code(strict) == code


def test_letters_that_a_terminal_lacks_become_question_marks(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("PYTHONUTF8", "0"), ("LC_ALL", "C"), ("PYTHONCOERCECLOCALE", "0")):
        monkeypatch.setenv(name, value)
    done = siamese_med_process("ingest", export, "--reports", "Bericht-\u60a3", "--no-prefect", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 4)
    assert "Bericht-?" in done.stdout
