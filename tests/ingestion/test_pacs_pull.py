"""Pulls from a real Orthanc: the same scans as from a folder, everything reconciled, only what is new, nobody named."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from siamese_med.errors import AddressError, EmptyInputError, TransferError
from siamese_med.ingestion.pacs import dicomweb_client, pacs_pull, spool
from siamese_med.pipeline import stage_results
from siamese_med.study.config import Config, IngestConfig
from siamese_med.study.input_source import Pull
from siamese_med.study.tables import IngestResult, PacsTransfer, Study
from tests.commands import ROOT, siamese_med
from tests.ingestion import children, exports, orthanc
from tests.ingestion.conftest import Place
from tests.ingestion.orthanc import Orthanc

REPORT = "1.2.840.10008.5.1.4.1.1.88.11"


@pytest.fixture(autouse=True, scope="module")
def no_proxy() -> Iterator[None]:
    """The loopback interface is reached without the proxy that the machine may have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(autouse=True, scope="module")
def kept_children() -> Iterator[None]:
    """All pulls of this module share worker processes."""
    with children.kept():
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One Orthanc for the module; `pacs` empties it."""
    with orthanc.running(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def pacs(server: Orthanc) -> Orthanc:
    """An empty PACS."""
    server.forget("patients")
    return server


def pulled(place: Place, server: Orthanc, query: str = "", sent: Path | None = None, **settings: Any) -> IngestResult:
    chosen = {"secret_file": place.secret, "workers": 1, "transfer_tries": 1, **settings}
    ingested = pacs_pull.ingest_from_pacs(
        Pull(server.address(query), sent), place.data, place.url, IngestConfig(**chosen)
    )
    assert ingested.account.balanced()
    assert not (place.data / spool.SPOOL_FOLDER_NAME).exists()
    return ingested


def transfer_of(ingested: IngestResult) -> PacsTransfer:
    assert ingested.transfer is not None
    return ingested.transfer


def study_of(*many: list[Dataset]) -> list[Dataset]:
    """Series made into those of one study."""
    for dataset in (one for series in many for one in series):
        dataset.StudyInstanceUID = many[0][0].StudyInstanceUID
    return [one for series in many for one in series]


def cohort(folder: Path) -> list[Path]:
    """Two patients, three studies, five series, of which one is a report."""
    report = exports.of_class(REPORT, exports.series("PAT-1", seed=9)[0])
    first = study_of(exports.series("PAT-1", seed=1), exports.series("PAT-1", seed=2), [report])
    return [
        *exports.write(folder / "a", first),
        *exports.write(folder / "b", exports.series("PAT-1", seed=3, StudyDate="20220505")),
        *exports.write(folder / "c", exports.series("PAT-2", seed=4)),
    ]


def conflict(series: list[Dataset]) -> Dataset:
    """Another picture under the SOP instance UID of the third slice."""
    other = copy.deepcopy(series[2])
    exports.fill(other, exports.voxels(seed=99)[0])
    return other


def test_a_pull_gives_what_the_folder_gives_and_a_second_one_transfers_nothing(
    new_place: Callable[[], Place], pacs: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs.push(cohort(tmp_path))
    there, here = new_place(), new_place()
    expected, first = there.ingest(tmp_path), pulled(here, pacs)
    assert first.scans.equals(expected.scans)
    assert first.account == expected.account
    assert first.account.reasons == {"non_image": 1}
    assert transfer_of(first) == PacsTransfer(studies=3, series=5, listed=25, received=25)
    monkeypatch.setattr(dicomweb_client.DicomwebServer, "files", lambda *_: pytest.fail("a series was asked for"))
    second = pulled(here, pacs)
    assert transfer_of(second) == PacsTransfer(studies=3, unchanged=3)
    assert second.account == first.account == here.account()
    assert second.scans.equals(first.scans)


def test_of_a_study_that_grew_only_what_is_new_is_pulled(
    place: Place, pacs: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicomweb_client, "RESULTS_PER_PAGE", 2)
    paths = cohort(tmp_path)
    pacs.push(paths[6:])
    first = pulled(place, pacs)
    pacs.push(paths[:6])
    second = pulled(place, pacs)
    assert transfer_of(second) == PacsTransfer(studies=3, unchanged=2, series=1, listed=6, received=6)
    assert len(second.scans) == len(first.scans) + 1
    assert second.account == place.account()


def test_a_series_that_grew_or_lost_its_scan_is_pulled_again(place: Place, pacs: Orthanc, tmp_path: Path) -> None:
    paths = exports.write(tmp_path, exports.series())
    pacs.push([*paths[:2], *paths[3:]])
    assert pulled(place, pacs).account.reasons == {"missing_slice": 5}
    pacs.push(paths)
    whole = pulled(place, pacs)
    assert (transfer_of(whole).received, whole.account.ingested) == (6, 6)
    (place.data / whole.scans["path"][0]).unlink()
    again = pulled(place, pacs)
    assert transfer_of(again).received == 6
    assert again.scans.equals(whole.scans)
    assert (place.data / whole.scans["path"][0]).is_file()


def test_other_rules_give_what_was_quarantined_another_chance(place: Place, pacs: Orthanc, tmp_path: Path) -> None:
    pacs.push(exports.write(tmp_path, exports.series(slices=5)))
    assert pulled(place, pacs, min_slices=6).account.reasons == {"too_few_slices": 5}
    assert transfer_of(pulled(place, pacs, min_slices=6)).unchanged == 1
    assert pulled(place, pacs, min_slices=5).account.ingested == 5


def test_the_query_chooses_the_studies(place: Place, pacs: Orthanc, tmp_path: Path) -> None:
    pacs.push(cohort(tmp_path))
    queries = ("", "PatientID=PAT-1", "PatientID=PAT-1&StudyDate=20220101-20221231", "ModalitiesInStudy=CT")
    found = [dicomweb_client.DicomwebServer(Pull(pacs.address(query)), IngestConfig()).studies() for query in queries]
    assert [sorted(study.announced for study in studies) for studies in found] == [[6, 6, 13], [6, 13], [6], []]
    assert [study.when[0] for study in found[0]] == ["20210304", "20210304", "20220505"]
    with pytest.raises(EmptyInputError):
        pulled(place, pacs, "PatientID=NOBODY")


def test_a_spool_that_is_full_is_ingested_and_emptied(
    place: Place, pacs: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs.push(cohort(tmp_path))
    monkeypatch.setattr(pacs_pull, "MAX_SPOOL_BYTES", 1)
    found = pulled(place, pacs)
    assert (found.account.ingested, found.account.skipped, len(found.scans)) == (24, 1, 4)
    assert found.account == place.account()
    assert sorted(found.scans["session"]) == ["ses-01", "ses-01", "ses-01", "ses-02"]


def test_what_the_server_dropped_or_replaced_is_missed(place: Place, pacs: Orthanc, tmp_path: Path) -> None:
    """Four series: one with two pictures under a UID, one with two headers, one forestalled, one only corrected."""
    pictures, headers, forestalled, corrected = (exports.series(seed=seed) for seed in range(4))
    moved = copy.deepcopy(headers[2])
    moved.ImagePositionPatient = [0.0, 0.0, 0.0]
    pacs.push(exports.write(tmp_path / "before", [conflict(forestalled)]))
    sent = tmp_path / "sent"
    paths = exports.write(sent / "a", [*pictures, conflict(pictures), *headers, moved, *forestalled])
    assert pacs.push(paths).count("AlreadyStored") == 3
    exports.write(sent / "b", [*corrected, corrected[0]])  # a copy is no loss
    for dataset in corrected:
        dataset.InstitutionName = "corrected by the server"
    pacs.push(exports.write(tmp_path / "stored", corrected))
    found = transfer_of(pulled(place, pacs, sent=sent))
    assert found == PacsTransfer(studies=4, series=4, listed=24, received=24, sent=26, not_returned=3)


def test_a_study_that_changes_under_the_pull_is_counted_and_pulled_again(
    place: Place, pacs: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the list and the transfer one instance goes and another one comes."""
    series = exports.series(slices=7)
    paths = exports.write(tmp_path, series)
    pacs.push(paths[:6])
    list_them = dicomweb_client.DicomwebServer.instances

    def listed(self: dicomweb_client.DicomwebServer, study: dicomweb_client.ListedStudy) -> dict[str, set[str]]:
        found = list_them(self, study)
        pacs.lose(series[2].SOPInstanceUID)
        pacs.push(paths[6:])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(dicomweb_client.DicomwebServer, "instances", listed)
        found = pulled(place, pacs)
    assert transfer_of(found) == PacsTransfer(studies=1, series=1, listed=6, received=5, missing=1, unexpected=1)
    assert found.account.reasons == {"missing_slice": 6}
    pacs.lose(series[6].SOPInstanceUID)
    pacs.push(paths[:6])
    again = pulled(place, pacs)  # although the list is what it was
    assert transfer_of(again) == PacsTransfer(studies=1, series=1, listed=6, received=6)
    assert again.account.ingested == 6


def test_a_connection_cut_midway_is_tried_again(place: Place, pacs: Orthanc, tmp_path: Path) -> None:
    """Orthanc announces no length, so only the closing boundary tells a cut answer from a whole one."""
    pacs.push(exports.write(tmp_path, exports.series()))
    with orthanc.bad_road(pacs) as far:
        found = pulled(place, far, transfer_tries=2)
    assert transfer_of(found) == PacsTransfer(studies=1, series=1, listed=6, received=6)
    assert found.account.ingested == 6


@pytest.mark.parametrize("lost", [1, 2])
def test_a_request_that_finds_its_connection_closed_is_sent_once_more(
    place: Place, pacs: Orthanc, tmp_path: Path, lost: int
) -> None:
    pacs.push(exports.write(tmp_path, exports.series()))
    with orthanc.bad_road(pacs, good=1, lost=lost) as far:
        if lost == 1:
            assert pulled(place, far, transfer_tries=1).account.ingested == 6
        else:
            with pytest.raises(TransferError, match="no connection"):
                pulled(place, far, transfer_tries=1)


def test_a_study_that_cannot_be_transferred_costs_that_study(place: Place, pacs: Orthanc, tmp_path: Path) -> None:
    pacs.push(cohort(tmp_path))
    config = IngestConfig(secret_file=place.secret, workers=1, transfer_tries=1)
    with orthanc.bad_road(pacs) as far:
        order = stage_results.RunRequest(Study(place.data, config=Config(ingest=config)), Pull(far.address()))
        outcome = stage_results.run_stage("ingest", order)
        assert outcome.unfinished == ("1 study not transferred: run the same command again",)
        assert (outcome.facts["transfer"]["failed"], outcome.facts["quarantined"]) == (1, 0)
        rest = pulled(place, far)
    assert (transfer_of(rest).failed, transfer_of(rest).unchanged) == (0, 2)
    assert rest.account.ingested == 24
    assert transfer_of(pulled(place, pacs)).unchanged == 3


def test_a_server_that_stalls_is_given_up(place: Place, pacs: Orthanc, tmp_path: Path) -> None:
    pacs.push(exports.write(tmp_path, exports.series()))
    started = time.monotonic()
    with (
        orthanc.bad_road(pacs, stalls=True) as far,
        pytest.raises(TransferError) as failure,
    ):
        pulled(place, far, transfer_timeout_s=0.5)
    assert failure.value.facts["transfer"]["failed"] == 1
    assert time.monotonic() - started < 20
    assert not (place.data / spool.SPOOL_FOLDER_NAME).exists()


def test_a_killed_pull_is_completed_by_the_next(new_place: Callable[[], Place], pacs: Orthanc, tmp_path: Path) -> None:
    paths = cohort(tmp_path / "in")
    pacs.push(paths)
    place, expected = new_place(), pulled(new_place(), pacs)
    with orthanc.bad_road(pacs, good=1, stalls=True) as far:
        _kill_in_transfer(place, far)
    left = sorted((place.data / spool.SPOOL_FOLDER_NAME).rglob("*"))
    assert {path.stat().st_mode & 0o777 for path in left} == {0o700, 0o600}
    assert not [path for path in left if any(one in str(path) for one in _identifiers(paths))]
    (left[0] / "half").write_bytes(b"of a study that is gone")
    found = pulled(place, pacs)
    assert found.scans.equals(expected.scans)
    assert found.account == expected.account == place.account()


def _kill_in_transfer(place: Place, server: Orthanc) -> None:
    """Start a pull, and end it with SIGKILL once the first file is in its spool."""
    code = (
        "import sys; from pathlib import Path; from siamese_med.study.input_source import Pull;"
        "from siamese_med.study.config import IngestConfig;"
        "from siamese_med.ingestion.pacs import pacs_pull; a = sys.argv;"
        "pacs_pull.ingest_from_pacs(Pull(a[1]), Path(a[2]), a[3], IngestConfig(secret_file=a[4], workers=1))"
    )
    command = [sys.executable, "-c", code, server.address(), str(place.data), place.url, str(place.secret)]
    process = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 300
    while not any(path.is_file() for path in (place.data / spool.SPOOL_FOLDER_NAME).rglob("*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def _identifiers(paths: list[Path]) -> set[str]:
    """What must be found nowhere: ids, names and UIDs of these files."""
    import pydicom

    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    words = ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "StudyDate")
    return {str(one.get(word)) for one in headers for word in words}


def _asked(server: Orthanc | str, cwd: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line, without Prefect, as JSON; one try a request."""
    (cwd / "fast.toml").write_text("[ingest]\ntransfer_tries = 1\nworkers = 1\n")
    address = server if isinstance(server, str) else server.address()
    return siamese_med("ingest", address, "--no-prefect", "--json", "--config", "fast.toml", *options, cwd=cwd)


def test_the_command_reports_what_is_missing_and_names_nobody(pacs: Orthanc, tmp_path: Path) -> None:
    series = exports.series("MUELLER-19500101")
    paths = exports.write(tmp_path / "sent", [*series, conflict(series)])
    pacs.push(paths)
    result = _asked(pacs.address("PatientID=MUELLER-19500101"), tmp_path, "--sent", "sent")
    assert result.returncode == 4, result.stderr
    facts = json.loads(result.stdout)
    assert (facts["transfer"]["sent"], facts["transfer"]["not_returned"]) == (7, 1)
    shown = siamese_med("ingest", pacs.address(), "--no-prefect", "--sent", "sent", cwd=tmp_path)
    assert shown.returncode == 4
    assert "1 instance sent to the PACS did not come back" in " ".join(shown.stdout.split())
    said = "".join((result.stdout, result.stderr, shown.stdout, shown.stderr)).encode()
    for path in (tmp_path / "data").rglob("*"):
        said += str(path.relative_to(tmp_path)).encode() + (path.read_bytes() if path.is_file() else b"")
    assert not [one for one in _identifiers(paths) if one.encode() in said]


@pytest.mark.parametrize("path", ["wrong", "", "instances"])
def test_a_wrong_path_is_explained(place: Place, pacs: Orthanc, path: str) -> None:
    pull = Pull(pacs.address("PatientID=SECRET-7", path))
    with pytest.raises(AddressError, match="check P") as failure:
        pacs_pull.ingest_from_pacs(pull, place.data, place.url, IngestConfig(secret_file=place.secret))
    assert "SECRET-7" not in "".join(traceback.format_exception(failure.value))


def test_a_wrong_path_or_a_server_that_is_not_there_is_one_line(pacs: Orthanc, tmp_path: Path) -> None:
    nobody = Orthanc(orthanc.free_port())
    wrong = _asked(pacs.address("PatientID=SECRET-7", "wrong"), tmp_path)
    absent = _asked(nobody.address("PatientID=SECRET-7"), tmp_path)
    assert (wrong.returncode, "nothing at this address (404)" in wrong.stderr) == (2, True)
    assert (absent.returncode, "no connection to the PACS" in absent.stderr) == (3, True)
    for result in (wrong, absent):
        assert [line for line in result.stderr.splitlines() if "made the pseudonym secret" not in line][1:] == []
        assert "SECRET-7" not in result.stdout + result.stderr


def test_a_server_may_ask_who_it_is(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with orthanc.running(tmp_path / "orthanc", auth=("reader", "pässword")) as guarded:
        guarded.push(exports.write(tmp_path / "in", exports.series()))
        for name, value in {"OTHER": "", "USER": "reader", "PASSWORD": "guessed"}.items():
            monkeypatch.setenv(f"SIAMESE_MED_DICOMWEB_{name}", value)
            with pytest.raises(AddressError, match=r"refuses access \(401\)"):
                pulled(place, guarded)
        monkeypatch.setenv("SIAMESE_MED_DICOMWEB_PASSWORD", "pässword")
        assert pulled(place, guarded).account.ingested == 6


@pytest.mark.parametrize(
    "address",
    [
        "dicomweb://reader:hunter2@pacs/dicom-web",
        "https://pacs/dicom-web",
        "dicomweb:///dicom-web",
        "dicomweb://pacs:port/dicom-web",
        "dicomweb://pacs/?PatientId=SECRET-7",
        "dicomweb://pacs/?PatientID=SECRET-7&PatientID=8",
        "dicomweb://pacs/?SECRET-7",
        "dicomweb://pacs/#SECRET-7",
    ],
)
def test_an_address_is_checked_before_it_is_kept(address: str) -> None:
    with pytest.raises(AddressError) as refusal:
        Pull(address)
    assert "SECRET-7" not in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_an_address_is_never_shown() -> None:
    pull = Pull("dicomwebs://pacs:8443/dicom-web/?PatientID=A%26B", Path("folder"))
    assert (pull.url, pull.host, pull.query) == ("https://pacs:8443/dicom-web", "pacs:8443", {"PatientID": "A&B"})
    assert repr(pull) == "Pull()"


def test_a_study_with_an_impossible_uid_is_not_asked_for(place: Place, pacs: Orthanc, tmp_path: Path) -> None:
    hostile = exports.series("PAT-3", seed=5, StudyInstanceUID="../../instances")
    pacs.push([*cohort(tmp_path / "a"), *exports.write(tmp_path / "b", hostile)])
    found = transfer_of(pulled(place, pacs))
    assert (found.studies, found.failed, found.received) == (4, 1, 25)
