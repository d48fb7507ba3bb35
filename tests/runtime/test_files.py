"""Files are replaced, never written in place: a reader sees the old file or the new one, and a failure leaves none."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamese_med.errors import NoSpaceError
from siamese_med.runtime import files

WRITERS = {
    "text": lambda path: files.write_text_file(path, "new"),
    "bytes": lambda path: files.write_bytes_file(path, b"new"),
    "json": lambda path: files.write_json_file(path, "new"),
    "replaced text": lambda path: files.write_text_file_without_sync(path, "new"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_who_reads_the_old_file_goes_on_reading_it(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    path.parent.mkdir()
    path.write_text("old and long enough to be seen")
    with path.open() as reader:
        WRITERS[writer](path)
        assert reader.read() == "old and long enough to be seen"
    assert path.read_text().strip().strip('"') == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail_midway() -> None:
        with files.replace_atomically(path) as temporary:
            temporary.write_text("half of the n")
            raise OSError(28, "No space left on device")

    with pytest.raises(NoSpaceError):
        fail_midway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_linked_file_never_changes_with_its_source(tmp_path: Path) -> None:
    source, linked = tmp_path / "source", tmp_path / "linked"
    files.write_text_file(source, "old")
    files.link_or_copy_file(source, linked)
    files.write_text_file(source, "new")
    assert linked.read_text() == "old"
    files.link_or_copy_file(source, linked)
    assert linked.read_text() == "new"


def test_a_private_file_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "secret"
    files.create_private_file(path, b"first")
    files.create_private_file(path, b"second")
    assert path.read_bytes() == b"first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["secret"]
