"""Troubles of the machine, by the command line: one line that names the place and what to do, and nothing half done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from siamese_med.cli import console_output
from siamese_med.ingestion import conversion, ingest_folder, volume_candidates
from tests.commands import ROOT, siamese_med
from tests.ingestion import children, exports

AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user or mount a disk")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with an export of one patient with two visits, ingested and paired into `data`."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for number, day in enumerate(("20200101", "20210101")):
        exports.write(folder / "export" / str(number), exports.series(seed=number, StudyDate=day))
    for verb in (("ingest", "export"), ("pair",)):
        assert siamese_med(*verb, "--no-prefect", cwd=folder).returncode == 0
    return folder


@pytest.fixture
def study(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of that folder to do harm to."""
    return shutil.copytree(undisturbed, tmp_path / "study")


def call(folder: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON object and the lines on standard error of a command."""
    done = siamese_med(*words, "--json", cwd=folder)
    return done.returncode, json.loads(done.stdout), done.stderr


def assert_one_line(answer: tuple[int, dict[str, Any], str], code: int, *words: str) -> None:
    found, facts, said = answer
    assert (found, facts["exit_code"]) == (code, code)
    assert said.count("\n") == 1
    assert all(word in said for word in words), said
    assert "unexpected" not in said


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@AS_ROOT
def test_a_read_only_disk_is_named_and_what_was_there_stays(study: Path) -> None:
    disk = study / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        shutil.copytree(study / "data", disk / "data")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        before = contents(disk)
        for words in (("ingest", "export"), ("pair",)):
            answer = call(study, *words, "--data", "disk/data", "--reports", "reports2", "--no-prefect")
            assert_one_line(answer, 6, f"cannot write to {disk / 'data'}", "read-only file system", "name another one")
        answer = call(study, "ingest", "export", "--reports", "disk/reports", "--no-prefect")
        assert_one_line(answer, 6, f"cannot write to {disk / 'reports'}")
        assert contents(disk) == before
        assert call(study, "status", "--data", "disk/data")[0] == 0
    finally:
        subprocess.run(["umount", disk], check=True)


FOREIGN = """
import os, sys
sys.path.insert(0, {root!r})
from siamese_med.cli.main import main
import siamese_med.ingestion.ingest_folder
import sqlalchemy.dialects.sqlite  # a Python below /root cannot be read by others: all is loaded before
os.setgid(1234), os.setuid(1234)
main()
"""


@AS_ROOT
def test_a_folder_of_another_user_is_named(study: Path) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        folder, secret = Path(name), Path(name) / "secret"
        folder.chmod(0o755)
        for part in ("data", "export"):
            shutil.copytree(study / part, folder / part)
        secret.write_bytes(bytes(32))
        os.chown(secret, 1234, 1234)
        secret.chmod(0o600)
        before = contents(folder / "data")
        done = subprocess.run(
            [sys.executable, "-c", FOREIGN.format(root=str(ROOT)), "ingest", "export", "--no-prefect", "--json"],
            cwd=folder, capture_output=True, text=True, check=False,
            env={**os.environ, "SIAMESE_MED_SECRET_FILE": str(secret)},
        )  # fmt: skip
        assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (6, 6), done.stderr
        assert f"cannot write to {folder / 'data'} (permission denied)" in done.stderr
        assert contents(folder / "data") == before


def test_a_file_in_the_place_of_a_folder_is_named(study: Path) -> None:
    (study / "file").write_text("x")
    for words in (("--data", "file"), ("--reports", "file")):
        answer = call(study, "ingest", "export", "--no-prefect", *words)
        assert_one_line(answer, 6, f"cannot write to {study / 'file'} (file exists)")


def test_volumes_that_could_not_be_written_are_made_by_the_next_run(study: Path) -> None:
    (study / "d2").mkdir()
    (study / "d2" / "scans").write_text("in the way")
    words = ("ingest", "export", "--data", "d2", "--reports", "r2", "--no-prefect")
    for _ in range(2):
        code, facts, said = call(study, *words)
        assert code in (3, 6)
        assert "unexpected" not in said
        assert facts.get("reasons", {"write_error": 12}) == {"write_error": 12}
    (study / "d2" / "scans").unlink()
    assert call(study, *words)[1]["ingested"] == 12


def _cut(content: bytes) -> bytes:
    return content[:5000]


def _overwrite(content: bytes) -> bytes:
    return content[: 3 * 4096] + b"\xff" * (len(content) - 3 * 4096)


def _replace(_: bytes) -> bytes:
    return b"hello" * 99


@pytest.mark.parametrize("damage", [_cut, _overwrite, _replace])
def test_a_damaged_catalogue_is_said_with_the_way_out(study: Path, damage: Callable[[bytes], bytes]) -> None:
    file = study / "data" / "catalogue.sqlite"
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    for words in (("ingest", "export", "--no-prefect"), ("pair", "--no-prefect"), ("status",)):
        assert_one_line(call(study, *words), 3, f"the catalogue in {study / 'data'} is damaged", "restore a copy")
    file.rename(study / "moved away")
    assert siamese_med("ingest", "export", "--no-prefect", cwd=study).returncode == 0


@pytest.mark.parametrize("content", [b"", b"PAR1" + bytes(300)])
def test_a_damaged_table_is_said_with_the_way_out(study: Path, content: bytes) -> None:
    table = study / "data" / "pairs.parquet"
    before = pd.read_parquet(table)
    table.write_bytes(content)
    for words in (("pair", "--no-prefect"), ("status",), ("score", "--no-prefect")):
        assert_one_line(call(study, *words), 3, "the table pairs.parquet cannot be read: remove it")
    table.unlink()
    assert call(study, "pair", "--no-prefect")[0] == 0
    assert pd.read_parquet(table).equals(before)


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664)])
def test_files_follow_the_umask(study: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        siamese_med("ingest", "export", "--data", "d2", "--reports", "r2", "--no-prefect", cwd=study)
    finally:
        os.umask(before)
    made = [path for folder in ("r2", "d2/scans") for path in (study / folder).rglob("*") if path.is_file()]
    assert {path.name for path in made} >= {"ingest.html", "ingest.tsv", "participants.tsv"}
    workers = {path for path in made if path.name.endswith(".gz")}  # their processes may have started before
    assert {path.stat().st_mode & 0o777 for path in {*made} - workers} == {mode}


@pytest.mark.parametrize("name", ["evil\x1b[31mred\x07", "[red]brackets[/red]"])
def test_no_control_character_of_a_name_reaches_a_terminal(study: Path, name: str) -> None:
    done = siamese_med("ingest", "export", "--data", "d2", "--reports", name, "--no-prefect", cwd=study)
    assert done.returncode == 0
    assert name.replace("\x1b", "\\x1b").replace("\x07", "\\x07") in done.stdout
    (study / "file").write_text("x")
    refused = siamese_med("ingest", "export", "--data", f"file/{name}", "--no-prefect", cwd=study)
    assert refused.returncode == 6
    assert not {"\x1b", "\x07"} & set(done.stdout + done.stderr + refused.stdout + refused.stderr)


@pytest.mark.parametrize("shorter", [False, True])
def test_a_file_that_changes_while_it_is_read_is_taken_by_the_next_run(
    study: Path, monkeypatch: pytest.MonkeyPatch, shorter: bool
) -> None:
    first = study / "export" / "0" / "IM0000"
    plan = volume_candidates.plan_group
    others = exports.write(study / "others", exports.series(seed=9, StudyDate="20200101"))

    def write_meanwhile(*arguments: Any) -> Any:
        planned = plan(*arguments)
        while others:  # once, before any volume is written, and each file at once: nobody reads half of one
            one = others.pop()
            if shorter:
                os.truncate(one, one.stat().st_size - 2)
            one.replace(study / "export" / "0" / one.name)
        return planned

    monkeypatch.setattr(ingest_folder, "plan_group", write_meanwhile)
    words = ("ingest", "export", "--data", "d2", "--reports", "r2", "--no-prefect")
    with children.kept():
        code, facts, _ = call(study, *words)
        monkeypatch.undo()
        assert (code, facts["reasons"], facts["ingested"]) == (4, {"file_changed": 6}, 6)
        code, facts, _ = call(study, *words)
    found = (code, facts["ingested"], facts["reasons"])
    assert found == ((4, 6, {"truncated_pixels": 6}) if shorter else (0, 12, {}))
    first.unlink()
    with pytest.raises(FileNotFoundError):
        conversion._check_unchanged(conversion.ConversionJob(states=((str(first), 1, 1),)))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), "permission denied: check that the input"),
        (OSError(30, "Read-only file system"), "read-only file system: check"),
        (OSError(5, "Input/output error"), "the machine failed (input/output error): repair that"),
        (MemoryError(), "out of memory: "),
    ],
)
def test_errors_of_the_machine_that_nothing_else_explains_are_said(error: Exception, words: str) -> None:
    message, code, _ = console_output.explain_error(error)
    assert message.startswith(words)
    assert code == 6
