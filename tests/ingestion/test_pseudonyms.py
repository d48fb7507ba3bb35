"""The secret: made once, kept to its owner, and the same pseudonyms from it for ever."""

from __future__ import annotations

import sqlite3
import stat
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from siamese_med.errors import SecretError
from siamese_med.ingestion.privacy import pseudonyms
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms, load_pseudonyms
from tests.ingestion import exports
from tests.ingestion.conftest import Place


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the secret is made in an empty home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return pseudonyms.get_default_secret_file()


def test_it_is_made_once_and_announced_once(default: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = pseudonyms.load_pseudonyms(None)
    assert stat.S_IMODE(default.stat().st_mode) == 0o600
    assert len(default.read_bytes()) == 32
    message = capsys.readouterr().err
    assert str(default) in message
    assert message.count("\n") == 1
    assert pseudonyms.load_pseudonyms(None) == first
    assert capsys.readouterr().err == ""
    assert [path.name for path in default.parent.iterdir()] == ["secret"]


def test_a_named_file_comes_before_the_environment_and_that_before_the_default(
    default: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: tmp_path / name for name in ("named", "environment")}
    for name, path in files.items():
        path.write_bytes(name.encode() * 4)
        path.chmod(0o600)
    monkeypatch.setenv(pseudonyms.SECRET_FILE_VARIABLE, str(files["environment"]))
    assert pseudonyms.load_pseudonyms(files["named"]).secret == b"named" * 4
    assert pseudonyms.load_pseudonyms(None).secret == b"environment" * 4
    assert not default.exists()


@pytest.mark.parametrize(
    ("content", "mode", "message"), [(None, 0, "no secret"), (b"x" * 32, 0o640, "chmod"), (b"x", 0o600, "short")]
)
def test_an_unsafe_secret_is_refused(tmp_path: Path, content: bytes | None, mode: int, message: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(SecretError, match=message):
        pseudonyms.load_pseudonyms(path)


def test_pseudonyms_differ_by_issuer_patient_and_secret() -> None:
    one, other = Pseudonyms(b"a" * 32), Pseudonyms(b"b" * 32)
    labels = {
        one.subject("x", "1"),
        one.subject("x", "2"),
        one.subject("y", "1"),
        other.subject("x", "1"),
        one.subject("x1", ""),
    }
    assert len(labels) == 5
    assert all(len(label) == 4 + 26 for label in labels)
    assert one.subject("x", "1") == Pseudonyms(b"a" * 32).subject("x", "1")


def test_a_shift_keeps_intervals_and_belongs_to_the_subject() -> None:
    one = Pseudonyms(b"a" * 32)
    early, late = (one.shifted(date(2020, 1, day), "sub-a") for day in (1, 31))
    assert (date.fromisoformat(str(late)) - date.fromisoformat(str(early))).days == 30
    shifts = {str(one.shifted(date(2020, 1, 1), f"sub-{number}")) for number in range(200)}
    assert len(shifts) > 150
    assert min(shifts) >= "2010-01-03", "ten years at most"
    assert max(shifts) < "2020-01-01", "a scan of today must not get a date in the future"
    assert one.shifted(None, "sub-a") is None


def test_a_catalogue_of_the_older_rule_keeps_its_shifts(place: Place, tmp_path: Path) -> None:
    """Dates of both rules in one catalogue would give wrong intervals."""
    exports.write(tmp_path / "a", exports.series(StudyDate="20200304"))
    first = place.ingest(tmp_path / "a").scan_rows[0]
    with sqlite3.connect(place.data / "catalogue.sqlite") as connection:
        (mark,) = connection.execute("DELETE FROM meta WHERE key = 'dates' RETURNING value").fetchone()
    assert mark == "past"
    older = Pseudonyms(b"a" * 32, dates_in_past=False)
    shifted = [str(older.shifted(date(2020, 1, 1), f"sub-{number}")) for number in range(200)]
    assert min(shifted) < "2020-01-01" < max(shifted)
    exports.write(tmp_path / "b", exports.series(seed=1, StudyDate="20200305"))
    rows = place.ingest(tmp_path / "b").scan_rows
    (second,) = [row for row in rows if row["id"] != first["id"]]
    secret = replace(load_pseudonyms(place.secret), dates_in_past=False)
    assert second["date"] == secret.shifted(date(2020, 3, 5), second["subject"])


def test_a_catalogue_stays_with_its_secret(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path / "a", exports.series())
    place.ingest(tmp_path / "a")
    other = tmp_path / "other"
    other.write_bytes(b"another secret of many bytes")
    other.chmod(0o600)
    with pytest.raises(SecretError, match="another"):
        Place(place.data, other).ingest(tmp_path / "a")


@pytest.mark.parametrize("other", [("ward", "a1"), ("Ward", "A1"), ("ward", " A1"), ("ward", "A1 "), ("", "wardA1")])
def test_whoever_has_another_issuer_or_id_is_another_subject(other: tuple[str, str]) -> None:
    """Two hospitals may tell patients apart by the case of a letter; people merged by mistake cannot be told apart."""
    made = Pseudonyms(b"x" * 32)
    assert made.subject(*other) != made.subject("ward", "A1")
