"""What a person reads in a terminal or in a log: times, ids, a line a stage, and hints that work when copied."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from siamese_med.cli.console_output import CommandResult, write_answer
from siamese_med.cli.hints import add_given_options
from siamese_med.cli.main import app
from siamese_med.pipeline import answer_storage
from tests.commands import siamese_med, write_nifti

SCAN = "sub-27y3rq7rwwmc5taciofoxtueho_ses-01_T1w"


def shown(facts: dict[str, object]) -> str:
    stream = io.StringIO()
    write_answer(stream, CommandResult(facts))
    return stream.getvalue()


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    write_nifti(tmp_path / "in" / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_T1w.nii.gz")
    return tmp_path


def test_times_are_minutes_and_large_numbers_are_whole() -> None:
    text = shown({"seconds": {"train": 2140.0, "pair": 0.67}, "region_ml": 1557.2, "p": 0.00123, "starter": True})
    lines = [line.split() for line in text.splitlines()]
    assert lines == [
        ["train", "35", "min", "40", "s"], ["pair", "0.7", "s"], ["region", "ml", "1557"], ["p", "0.00123"],
        ["starter", "yes"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        {"id": SCAN, "subject": "sub-2", "affine": [[1]], "contrast": "contrast-enhanced", "flags": ["a" * 20] * 3},
        {"scan_a": SCAN, "scan_b": SCAN.replace("01", "02"), "subject_a": SCAN[:30], "volume_ml": 3.25},
    ],
    ids=["scan", "pair"],
)
def test_an_id_stands_whole_on_one_line(row: dict[str, object]) -> None:
    text = shown({"rows": [row] * 2})
    whole = [value for name, value in row.items() if str(value).startswith("sub-") and name != "subject"]
    assert all(text.count(str(value)) >= 2 for value in whole), text


def test_a_stage_has_a_line_with_its_time_also_where_nothing_is_a_terminal(inputs: Path) -> None:
    done = siamese_med("run", "in", "--no-prefect", cwd=inputs)
    stages = [line.split() for line in done.stderr.splitlines() if "; next: " in line]
    assert [line[1] for line in stages[:2]] == ["ingest:", "prepare:"]
    assert [line[-1] for line in stages[:2]] == ["prepare", "pair"]
    assert all(line[0].count(":") == 2 and line[3] == "s;" for line in stages)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["score", "--data", "my study", "--reports", "r"], "`siamese-med pair --data 'my study' --reports r`"),
        (["status", "--data", "my study"], "siamese-med prepare --data 'my study'"),
        (["ingest", "broken", "--data", "my study"], "`siamese-med status --data 'my study'`"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_hint_has_the_options_that_were_given(inputs: Path, arguments: list[str], hint: str) -> None:
    write_nifti(inputs / "broken" / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_T1w.nii.gz")
    (inputs / "broken" / "x.nii.gz").write_bytes(b"no image")
    assert siamese_med("ingest", "in", "--data", "my study", "--no-prefect", cwd=inputs).returncode == 0
    no_prefect = [] if arguments[0] == "status" else ["--no-prefect"]
    done = siamese_med(*arguments, *no_prefect, cwd=inputs)
    assert hint in " ".join((done.stdout + done.stderr).split())


def test_the_closing_line_has_the_options_that_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(answer_storage, "store_reader_answers", lambda *_: {"new": True})
    (tmp_path / "c.toml").touch()
    words = ["answers", "a.json", "--data", "my study", "--config", str(tmp_path / "c.toml")]
    CliRunner().invoke(app, words)
    assert f"siamese-med report --data 'my study' --config {tmp_path}/c.toml\n" in capfd.readouterr().out


def test_defaults_and_other_words_are_left_alone() -> None:
    given = {"data": Path("data"), "reports": Path("reports"), "config": None, "model": None}
    for text in ("run `siamese-med score` first", "siamese-med trains", "see `siamese-med --help`"):
        assert add_given_options(text, given) == text
    model = {**given, "model": Path("m"), "config": Path("c.toml")}
    assert add_given_options("`siamese-med score`, `siamese-med pair`", model) == (
        "`siamese-med score --config c.toml --model m`, `siamese-med pair --config c.toml`"
    )
    twice = "siamese-med report --data a"
    assert add_given_options(twice, {"data": "b"}) == twice


def test_a_log_file_has_stages_doubts_and_the_end_of_every_run(inputs: Path) -> None:
    secret = inputs / "Jane Doe"
    (inputs / "in").rename(secret)
    (secret / "broken.nii.gz").write_bytes(b"no image")
    assert siamese_med("ingest", secret, "--no-prefect", "--quiet", "--log", "run.log", cwd=inputs).returncode == 4
    assert siamese_med("pair", "--data", "none", "--no-prefect", "--json", "--log", "run.log", cwd=inputs).returncode
    lines = (inputs / "run.log").read_text().splitlines()
    words = ["siamese-med ", "ingest: ", "1 file quarantined", "siamese-med ", "siamese-med ingest INPUT --data none"]
    assert len(lines) == len(words)
    assert all(word in line and line.startswith("20") for word, line in zip(words, lines, strict=True)), lines
    assert lines[2].endswith("exit code 4")
    assert "Jane" not in "".join(lines)


def test_a_log_file_that_cannot_be_written_is_one_line(inputs: Path) -> None:
    done = siamese_med("ingest", "in", "--log", "no/folder/run.log", "--json", cwd=inputs)
    assert done.returncode == 2
    assert "--log cannot be written" in json.loads(done.stdout)["error"]
    assert not (inputs / "data").exists()
