"""From a label back to patient and files: with the secret alone, and harmless on a terminal whatever an ID holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from siamese_med.errors import CatalogueError, EmptyInputError, InputError, SecretError, UsageError
from siamese_med.ingestion.catalogue.inventory import read_inventory
from siamese_med.ingestion.privacy import reidentification
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.runtime import terminal_text
from tests.commands import siamese_med
from tests.ingestion import exports
from tests.ingestion.conftest import Place

HOSTILE = (
    "../../etc/passwd",
    "</script><script>alert(1)</script>",
    "\x1b[2J\x1b]0;owned\x07",
    "a\rb\nc\td",
    "\u202eabc\u2066",
    "x\x9bhello",
    "[red]markup[/red]",
    "back\\slash",
)


def ask(place: Place, label: str, source: Path | None = None, secret: Path | None = None) -> dict:
    return reidentification.reveal_label(label, place.url, secret or place.secret, source)


@pytest.fixture
def filled(place: Place, tmp_path: Path) -> Place:
    """A scan of one patient and a series of another that lacks a slice, below `export`."""
    export = tmp_path / "export"
    exports.write(export / "good", exports.series("PAT-1", IssuerOfPatientID="CLINIC"))
    short = exports.series("PAT-2", seed=2)
    exports.write(export / "short", [*short[:2], *short[3:]])
    place.ingest(export)
    return place


def test_a_subject_is_named(filled: Place) -> None:
    (row,) = filled.scans().itertuples()
    facts = ask(filled, row.subject)
    assert facts["subjects"] == [
        {"subject": row.subject, "patient_id": "PAT-1", "issuer": "CLINIC", "named_by": "dicom"}
    ]
    assert [one["files"] for one in facts["series"]] == [{"ingested": 6}]
    assert "files" not in facts


def test_a_scan_has_its_real_date(filled: Place) -> None:
    (row,) = filled.scans().itertuples()
    assert ask(filled, row.id)["scan"] == {"id": row.id, "date": "2021-03-04"}
    assert row.date != "2021-03-04"


def test_the_label_that_a_page_shows_is_enough(filled: Place) -> None:
    (row,) = filled.scans().itertuples()
    (series,) = [one for one in read_inventory(filled.url).series if "missing_slice" in one.files]
    assert ask(filled, f"{row.subject[:12]}…")["subjects"][0]["patient_id"] == "PAT-1"
    assert ask(filled, series.label)["subjects"][0]["patient_id"] == "PAT-2"


def test_a_reason_leads_to_the_files(filled: Place, tmp_path: Path) -> None:
    facts = ask(filled, "missing_slice", tmp_path / "export")
    assert [one["patient_id"] for one in facts["subjects"]] == ["PAT-2"]
    assert [one["path"] for one in facts["files"]] == sorted(map(str, (tmp_path / "export" / "short").iterdir()))
    assert {one["reason"] for one in facts["files"]} == {"missing_slice"}
    assert facts["contents_not_found"] == 0


def test_files_that_are_elsewhere_are_counted(filled: Place, tmp_path: Path) -> None:
    facts = ask(filled, "missing_slice", tmp_path / "export" / "good")
    assert (facts["files"], facts["contents_not_found"]) == ([], 5)
    next((tmp_path / "export" / "short").iterdir()).unlink()
    assert ask(filled, "missing_slice", tmp_path / "export")["contents_not_found"] == 1


def test_no_file_is_read_to_find_paths(filled: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file of the input was opened")

    secret = Pseudonyms(filled.secret.read_bytes())
    monkeypatch.setattr(reidentification, "load_pseudonyms", lambda *_, **__: secret)
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert len(ask(filled, "missing_slice", tmp_path / "export")["files"]) == 5


def test_a_file_that_nobody_owns_is_found_by_its_reason(place: Place, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("a text")
    exports.nifti().to_filename(tmp_path / "a.nii")
    place.ingest(tmp_path)
    facts = ask(place, "not_an_image", tmp_path)
    assert (facts["subjects"], facts["series"]) == ([], [])
    assert [one["path"] for one in facts["files"]] == [str(tmp_path / "note")]


def test_a_manifest_and_a_bids_tree_give_back_the_label_they_gave(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path / "d", exports.series("IN-THE-HEADER"))
    (tmp_path / "m.csv").write_text("subject,session,path\nAnna,1,d\n")
    tree = tmp_path / "tree"
    (tree / "sub-07" / "anat").mkdir(parents=True)
    (tree / "dataset_description.json").write_text("{}")
    exports.nifti().to_filename(tree / "sub-07" / "anat" / "sub-07_T1w.nii.gz")
    place.ingest(tmp_path / "m.csv")
    place.ingest(tree)
    named = {tuple(ask(place, subject)["subjects"][0].values())[1:] for subject in place.scans()["subject"]}
    assert named == {("Anna", "", "manifest"), ("07", "", "bids")}


@pytest.mark.parametrize(
    "label", ["sub-", "sub-zzzzzzzzzz", "series-zzzz", "no_such_word", "", "sub-x_ses-01_T1w", "%"]
)
def test_an_unknown_label_is_one_line(filled: Place, label: str) -> None:
    with pytest.raises(InputError, match="has that label") as error:
        ask(filled, label)
    assert "\n" not in str(error.value)


def test_a_prefix_of_two_patients_is_refused(filled: Place) -> None:
    with create_engine(filled.url).begin() as connection:
        rows = connection.execute(text("SELECT key, subjects FROM series")).all()
        for number, (key, _) in enumerate(rows):
            label = json.dumps([f"sub-aaaaaaaaaa{number}"])
            connection.execute(text("UPDATE series SET subjects = :s WHERE key = :k"), {"s": label, "k": key})
    with pytest.raises(UsageError, match="2 labels"):
        ask(filled, "sub-aaaaaaaaaa")


def test_another_secret_reveals_nothing(filled: Place, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"x" * 32)
    other.chmod(0o600)
    with pytest.raises(SecretError, match="another pseudonym secret"):
        ask(filled, filled.scans()["subject"][0], secret=other)


def test_no_secret_is_made_to_reveal(filled: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "empty"))
    with pytest.raises(SecretError, match="no secret file"):
        reidentification.reveal_label("missing_slice", filled.url, None)
    assert not (tmp_path / "empty").exists()


def test_no_catalogue_is_made_to_reveal(place: Place) -> None:
    with pytest.raises(EmptyInputError):
        ask(place, "missing_slice")
    assert not place.data.exists()


def test_a_row_that_was_tampered_with_is_refused(filled: Place) -> None:
    subject = filled.scans()["subject"][0]
    with create_engine(filled.url).begin() as connection:
        first = "CASE substr(sealed, 1, 1) WHEN 'A' THEN 'B' ELSE 'A' END"
        connection.execute(text(f"UPDATE subject SET sealed = {first} || substr(sealed, 2)"))
    with pytest.raises(CatalogueError, match="changed or damaged"):
        ask(filled, subject)


def test_a_row_of_another_subject_is_refused(filled: Place) -> None:
    subject = filled.scans()["subject"][0]
    with create_engine(filled.url).begin() as connection:
        other = connection.execute(text("SELECT sealed FROM subject WHERE subject != :s"), {"s": subject}).scalar()
        connection.execute(text("UPDATE subject SET sealed = :o WHERE subject = :s"), {"o": other, "s": subject})
    with pytest.raises(CatalogueError):
        ask(filled, subject)


def test_sealing_is_the_same_each_time_and_hides_lengths(place: Place, tmp_path: Path, new_place: object) -> None:
    exports.write(tmp_path / "a", exports.series("P"))
    exports.write(tmp_path / "b", exports.series("A-MUCH-LONGER-ID-OF-30-LETTERS"))
    sealed = []
    for one in (place, new_place()):  # type: ignore[operator]
        one.ingest(tmp_path)
        with create_engine(one.url).connect() as connection:
            sealed.append(connection.execute(text("SELECT subject, sealed FROM subject ORDER BY subject")).all())
    assert sealed[0] == sealed[1]
    assert len({len(text) for _, text in sealed[0]}) == 1


@pytest.mark.parametrize("patient", HOSTILE)
def test_a_hostile_patient_id_comes_back_whole_and_prints_harmless(place: Place, tmp_path: Path, patient: str) -> None:
    (tmp_path / "m.csv").write_text("subject,session,path\n" + _quoted(patient) + ",1,a.nii\n", newline="")
    exports.nifti().to_filename(tmp_path / "a.nii")
    (row,) = place.ingest(tmp_path / "m.csv").scans.itertuples()
    assert patient.encode() not in (place.data / "catalogue.sqlite").read_bytes()
    facts = ask(place, row.subject)
    assert facts["subjects"][0]["patient_id"] == patient
    printed = reidentification.format_revealed_label(facts)
    assert all(one.isprintable() or one == "\n" for one in printed)
    assert printed.count("\n") == 2
    assert terminal_text.escape_for_terminal(patient).encode().decode("unicode_escape") == patient


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def test_the_command_warns_and_writes_nothing(filled: Place, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'[ingest]\nsecret_file = "{filled.secret}"\n')
    before = sorted(filled.data.rglob("*"))
    options = ["--data", filled.data, "--config", "c.toml"]
    result = siamese_med("reveal", "missing_slice", "--input", "export", *options, cwd=tmp_path)
    assert (result.returncode, result.stdout.count("PAT-2")) == (0, 1)
    assert result.stdout.count(str(Path("export") / "short")) == 5
    assert "names patients" in result.stderr
    assert "PAT-2" not in result.stderr
    as_json = siamese_med("reveal", "missing_slice", "--json", *options, cwd=tmp_path)
    assert json.loads(as_json.stdout)["subjects"][0]["patient_id"] == "PAT-2"
    assert siamese_med("reveal", "nobody", *options, cwd=tmp_path).returncode == 3
    assert sorted(filled.data.rglob("*")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.toml", "export"]
