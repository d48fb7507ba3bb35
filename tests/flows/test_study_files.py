"""A run's only parameter is a name that tells nothing; the paths stay in a file that only the user can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamese_med.errors import ConfigError, MissingFileError, UsageError
from siamese_med.flows import study_files
from siamese_med.pipeline.stage_results import RunRequest
from siamese_med.study import config
from siamese_med.study.input_source import Pull
from siamese_med.study.study_file import StudyFile
from siamese_med.study.tables import ReportExtras, Study


@pytest.fixture(autouse=True)
def own_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_an_order_comes_back_whole(tmp_path: Path, own_state_folder: Path) -> None:
    (tmp_path / "mine.toml").write_text("[train]\nepochs = 3\n")
    source = tmp_path / 'MÜLLER "Hans" \\ 1950 \U0001f9e0\x7f'
    extras = ReportExtras(viewer=True, pdf=True, dicom=tmp_path / "back", fhir=True)
    study = Study(tmp_path / "data", tmp_path / "reports", config.load_config(tmp_path / "mine.toml"))
    order = RunRequest(study, source, tmp_path / "model", verify=True, extras=extras, candidate=True)
    name = study_files.save_study_file(order, tmp_path / "mine.toml")
    again = study_files.load_study_file(name)
    assert again == order  # nothing is dropped
    assert again.study.config.train.epochs == 3
    assert "ller" not in name.lower()
    (folder,) = own_state_folder.rglob("studies")
    assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    order = RunRequest(Study(tmp_path / "data", tmp_path / "reports"), tmp_path / "M\udcfcller")
    with pytest.raises(UsageError, match="rename the file or folder"):
        study_files.save_study_file(order, None)


def test_an_address_of_a_pacs_comes_back_and_only_the_user_can_read_it(tmp_path: Path, own_state_folder: Path) -> None:
    pull = Pull("dicomweb://pacs/dicom-web?PatientID=MUELLER-1950", tmp_path / "sent")
    name = study_files.save_study_file(RunRequest(Study(tmp_path / "data", tmp_path / "reports"), pull), None)
    assert study_files.load_study_file(name).source == pull
    (file,) = own_state_folder.rglob("*.toml")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "MUELLER" not in name


def test_the_same_order_keeps_its_name_and_another_gets_its_own(tmp_path: Path) -> None:
    order, other = RunRequest(Study(tmp_path / "a", tmp_path)), RunRequest(Study(tmp_path / "b", tmp_path))
    assert (
        study_files.save_study_file(order, None)
        == study_files.save_study_file(order, None)
        != study_files.save_study_file(other, None)
    )


def test_a_study_file_counts_paths_from_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text('input = "incoming"\ndata = "data"\nreports = "/srv/reports"\n')
    order = study_files.load_study_file(str(tmp_path / "study.toml"))
    assert (order.source, order.study.data, order.study.reports, order.model) == (
        tmp_path / "incoming",
        tmp_path / "data",
        Path("/srv/reports"),
        None,
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('data = "d"\nreports = "r"\npatient = "x"\n', "unknown key 'patient'"),
        ('data = "d"\n', "no key 'reports'"),
        ("data d", "is not TOML"),
        ('data = 7\nreports = "r"\n', "'data' input is not"),
        ('data = "d"\nreports = "r"\nverify = "yes"\n', "'verify' input should be a valid boolean"),
    ],
)
def test_a_wrong_study_file_is_explained(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(content)
    with pytest.raises(ConfigError, match=words):
        study_files.load_study_file(str(tmp_path / "study.toml"))


@pytest.mark.parametrize("name", ["0123456789ab", "nowhere/study.toml", "../../etc/passwd"])
def test_an_unknown_study_is_not_found(name: str) -> None:
    with pytest.raises(MissingFileError):
        study_files.load_study_file(name)


def test_a_file_that_was_registered_before_is_found_by_its_text(tmp_path: Path, own_state_folder: Path) -> None:
    """What versions up to now have written, letter by letter: keys in this order, only those that are set."""
    values = {"data": tmp_path / "data", "reports": tmp_path / "reports", "dicom": tmp_path / "back"}
    text = "".join(f'{key} = "{path}"\n' for key, path in values.items())
    text += (
        f'input = "dicomweb://pacs/dicom-web?PatientID=7"\nsent = "{tmp_path / "sent"}"\nverify = true\npdf = true\n'
    )
    folder = own_state_folder / "siamese-med" / "studies"
    folder.mkdir(parents=True)
    (folder / "0123456789ab.toml").write_text(text)
    order = study_files.load_study_file("0123456789ab")
    assert (order.verify, order.extras) == (True, ReportExtras(pdf=True, dicom=tmp_path / "back"))
    assert study_files.save_study_file(order, None) == "0123456789ab"


def test_every_key_comes_back_from_a_file(tmp_path: Path) -> None:
    """Also of keys that are added later: none may be left out of the file."""
    path = str(tmp_path / "somewhere")
    values = {key: True if field.annotation is bool else path for key, field in StudyFile.model_fields.items()}
    whole = StudyFile.model_validate({**values, "input": "dicomweb://pacs/dicom-web"})
    whole.save(tmp_path / "study.toml")
    assert StudyFile.load(tmp_path / "study.toml") == whole
    assert (tmp_path / "study.toml").read_text().count("\n") == len(StudyFile.model_fields)
