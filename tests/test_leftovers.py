"""What a killed writer leaves is taken over by the next one of the same file, but never what a living one writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from siamese_med.runtime import files
from tests.commands import ROOT

KILLED = """
import os, signal, sys
from pathlib import Path
from siamese_med.runtime import files
with files.replace_atomically(Path(sys.argv[1])) as temporary:
    temporary.write_text("half of a much longer text")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_writer_leaves_is_gone_once_the_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False)
    assert len(names(tmp_path)) == 1
    files.write_text_file(path, "whole")
    assert names(tmp_path) == ["index.html"]
    assert path.read_text() == "whole"


def test_two_writers_of_one_file_do_not_share_a_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    with files.replace_atomically(path) as first:
        with files.replace_atomically(path) as second:
            assert first != second
            assert first.suffix == second.suffix == ".parquet"
            files.remove_stale_temporary_files(tmp_path)  # of a third: both are alive
            second.write_text("second")
        first.write_text("first")
    assert names(tmp_path) == ["pairs.parquet"]
    assert path.read_text() == "first"


def test_a_link_that_a_killed_run_left_is_not_written_through(tmp_path: Path) -> None:
    (source := tmp_path / "source.nii.gz").write_text("the only copy")
    (tmp_path / ".tmp-scan.nii.gz").hardlink_to(source)
    files.write_text_file(tmp_path / "scan.nii.gz", "other")
    assert source.read_text() == "the only copy"


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    try:
        with files.replace_atomically(tmp_path / "a.json") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert names(tmp_path) == []
