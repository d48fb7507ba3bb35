"""A trouble of the machine is named for what it is, costs its own files alone, and is gone once it is repaired."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siamese_med.cli import console_output
from siamese_med.errors import DatabaseFailedError, NoSpaceError
from siamese_med.ingestion import conversion, workers
from siamese_med.ingestion.catalogue import tables
from siamese_med.ingestion.inputs import folder_walk
from siamese_med.ingestion.reasons import MACHINE_REASONS, REASON_HINTS
from siamese_med.ingestion.workers import WorkerDiedError, WorkerHungError, WorkerLostError, Workers
from tests.ingestion import exports, machine
from tests.ingestion.conftest import Place

NewPlace = Callable[[], Place]
PATIENCE_S = 4
"""Seconds that a file which blocks is waited for; what does not block needs milliseconds, also on a busy machine."""


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Two patients in DICOM, a third one's NIfTI, and a note."""
    exports.write(tmp_path / "export" / "a", exports.series("PAT-1", seed=1))
    exports.write(tmp_path / "export" / "b", exports.series("PAT-2", seed=2))
    exports.nifti(3).to_filename(tmp_path / "export" / "sub-3_T1w.nii.gz")
    (tmp_path / "export" / "note").write_text("a text")
    return tmp_path / "export"


def test_a_file_that_blocks_is_given_up_and_taken_once_it_does_not(
    new_place: NewPlace, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, undisturbed = new_place(), new_place()
    with machine.blocking(export / "a" / "IM0003"):
        started = time.monotonic()
        first = place.ingest(export, timeout_s=PATIENCE_S).account
        assert time.monotonic() - started < 40  # the kernel would make it wait for 45
    assert first.reasons == {"timed_out": 1, "missing_slice": 5, "not_an_image": 1}
    assert (first.ingested, first.files_seen) == (7, 14)
    assert place.account() == first
    looked = _looks(monkeypatch)
    place.ingest(export, timeout_s=PATIENCE_S)
    assert {path.parent.name for path in looked} == {"a"}  # nothing that was fine is read again
    undisturbed.ingest(export)
    assert machine.different(place, undisturbed) == []


def _looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that workers are asked to look at from now on."""
    looked: list[Path] = []
    call = workers.Workers._call

    def noted(self: Workers, function: Any, task: Any, timeout_s: float) -> Any:
        looked.extend(map(Path, getattr(task, "paths", ())))
        return call(self, function, task, timeout_s)

    monkeypatch.setattr(workers.Workers, "_call", noted)
    return looked


def test_a_share_that_hangs_is_not_waited_for_file_by_file(new_place: NewPlace, tmp_path: Path) -> None:
    paths = exports.write(tmp_path / "hangs", exports.series(slices=60))
    exports.nifti(3).to_filename(tmp_path / "sub-3_T1w.nii.gz")
    place, undisturbed = new_place(), new_place()
    with machine.blocking(*paths):
        started = time.monotonic()
        first = place.ingest(tmp_path, timeout_s=PATIENCE_S).account
        assert time.monotonic() - started < 40  # a minute at least, were each of the 60 waited for by two workers
    assert first.reasons == {"timed_out": 60}
    assert first.ingested == 1
    place.ingest(tmp_path)
    undisturbed.ingest(tmp_path)
    assert machine.different(place, undisturbed) == []


def test_a_share_that_answers_nothing_costs_its_own_files_alone(new_place: NewPlace, export: Path) -> None:
    place, undisturbed = new_place(), new_place()
    with machine.hung_share(export / "a"):
        first = place.ingest(export, timeout_s=PATIENCE_S).account
    assert first.reasons == {"timed_out": 1, "not_an_image": 1}
    assert first.ingested == 7
    place.ingest(export)
    undisturbed.ingest(export)
    assert machine.different(place, undisturbed) == []


def test_a_known_share_that_answers_nothing_is_not_read_again_once_it_does(
    place: Place, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = place.ingest(export).account
    with machine.hung_share(export / "a"):
        assert place.ingest(export, timeout_s=PATIENCE_S).account.reasons == {"timed_out": 1, "not_an_image": 1}
    looked = _looks(monkeypatch)
    assert place.ingest(export).account == before == place.account()
    assert looked == []


def test_a_volume_that_took_too_long_is_tried_again_with_more_time(
    new_place: NewPlace, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that writes the first volume is stopped by the system meanwhile."""
    stopped: list[int] = []
    ask = workers._Child._ask

    def stop_at_first_volume(self: Any, message: Any, timeout_s: float) -> Any:
        if not stopped and message[1] == conversion.convert_volume.__qualname__:
            stopped.append(self._process.pid)
            os.kill(self._process.pid, signal.SIGSTOP)
        return ask(self, message, timeout_s)

    place, undisturbed = new_place(), new_place()
    with monkeypatch.context() as patch:
        patch.setattr(workers._Child, "_ask", stop_at_first_volume)
        first = place.ingest(export, timeout_s=PATIENCE_S).account
    assert first.reasons["timed_out"] >= 1
    assert not {"unreadable_header", "undecodable"} & first.reasons.keys()
    place.ingest(export)
    undisturbed.ingest(export)
    assert machine.different(place, undisturbed) == []


@pytest.mark.parametrize("which", ["", "a", "lesion_masks"])
def test_a_folder_that_is_not_listed_in_time_costs_its_files_for_now(
    new_place: NewPlace, export: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """Also where it is the input itself, and where files of its name would be no scans."""
    exports.write(export / "lesion_masks", exports.series("PAT-4", seed=4))
    place, undisturbed = new_place(), new_place()
    known = place.ingest(export).account
    undisturbed.ingest(export)
    hanging = export / which
    list_folder = folder_walk._listed

    def listed(folder: str) -> list[os.DirEntry[str]]:
        if folder == str(hanging):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return list_folder(folder)

    with monkeypatch.context() as patch:
        patch.setattr(folder_walk, "_listed", listed)
        disturbed = place.ingest(export).account
        first = new_place().ingest(export).account
    assert disturbed.reasons["unlisted_folder"] == first.reasons["unlisted_folder"] == 1
    lost = len(list(hanging.rglob("IM*")))
    assert first.ingested == known.ingested - lost - (which == "")  # the NIfTI file lies in the input itself
    assert place.ingest(export).account == known == place.account()
    assert machine.different(place, undisturbed) == []


@pytest.mark.parametrize("which", ["a/IM0003", "a"])
def test_a_permission_that_is_repaired_is_enough(new_place: NewPlace, export: Path, which: str) -> None:
    place, undisturbed = new_place(), new_place()
    mode = (export / which).stat().st_mode
    (export / which).chmod(0)
    try:
        code, facts, _ = machine.ingest(export, place, machine.as_anybody)
    finally:
        (export / which).chmod(mode)
    word = "unlisted_folder" if which == "a" else "unreadable_file"
    assert (code, facts["reasons"][word]) == (4, 1)
    assert machine.balanced(facts)
    code, facts, _ = machine.ingest(export, place, machine.as_anybody)
    assert (code, facts["ingested"], facts["reasons"]) == (4, 13, {"not_an_image": 1})
    machine.ingest_here(export, undisturbed)
    assert machine.different(place, undisturbed) == []


def test_a_known_file_that_cannot_be_read_for_now_keeps_its_scan(new_place: NewPlace, export: Path) -> None:
    place = new_place()
    before = place.ingest(export)
    scans = place.scans()
    for path in (export / "a" / "IM0003", export / "sub-3_T1w.nii.gz"):
        os.utime(path)
    with machine.blocking(export / "a" / "IM0003", export / "sub-3_T1w.nii.gz"):
        disturbed = place.ingest(export, timeout_s=PATIENCE_S).account
    assert disturbed.reasons == {"timed_out": 2, "not_an_image": 1}
    assert place.scans().equals(scans)
    assert all((place.data / path).is_file() for path in scans["path"])
    assert place.ingest(export).account == before.account == place.account()
    assert place.scans().equals(scans)


def test_slices_that_came_while_others_could_not_be_read_are_judged_again(new_place: NewPlace, tmp_path: Path) -> None:
    paths = exports.write(tmp_path / "all", exports.series(slices=8))
    export = tmp_path / "export"
    export.mkdir()
    for path in paths[:6]:
        shutil.copy2(path, export)
    place, undisturbed = new_place(), new_place()
    place.ingest(export)
    for path in paths[6:]:
        shutil.copy2(path, export)
    os.utime(export / paths[1].name)
    with machine.blocking(export / paths[1].name):
        assert place.ingest(export, timeout_s=PATIENCE_S).account.reasons == {"timed_out": 1, "missing_slice": 2}
    place.ingest(export)
    undisturbed.ingest(export)
    assert place.scans()["shape"][0] == undisturbed.scans()["shape"][0]
    assert place.account() == undisturbed.account()


def test_what_never_could_be_read_leaves_with_its_file(place: Place, export: Path) -> None:
    with machine.blocking(export / "sub-3_T1w.nii.gz"):
        assert place.ingest(export, timeout_s=PATIENCE_S).account.reasons["timed_out"] == 1
    (export / "sub-3_T1w.nii.gz").unlink()
    assert place.ingest(export).account == place.account()


@pytest.fixture
def special(export: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Path]]:
    """A pipe, a socket, and links to a pipe and to a device that never ends, in folder `s`."""
    folder = export / "s"
    folder.mkdir()
    os.mkfifo(folder / "pipe.dcm")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(folder)
        server.bind("socket")  # its path may not be long
        (folder / "to_pipe.nii.gz").symlink_to(folder / "pipe.dcm")
        (folder / "to_device").symlink_to("/dev/zero")
        yield {path.name: path for path in folder.iterdir()}


def test_pipes_sockets_and_devices_are_counted_and_never_opened(
    place: Place, export: Path, special: dict[str, Path]
) -> None:
    first = place.ingest(export, timeout_s=20).account
    assert first.reasons == {"special_file": len(special), "not_an_image": 1}
    assert place.ingest(export, timeout_s=20).account == first == place.account()
    special["pipe.dcm"].unlink()
    shutil.copy2(export / "a" / "IM0000", special["pipe.dcm"])
    again = place.ingest(export, timeout_s=20).account
    assert again.reasons == {"special_file": 2, "duplicate": 2, "not_an_image": 1}
    assert place.account() == again


def test_a_manifest_may_name_a_pipe_or_a_device(place: Place, export: Path, special: dict[str, Path]) -> None:
    rows = [f"S{number},1,{path.relative_to(export)}" for number, path in enumerate(special.values())]
    (export / "scans.csv").write_text("\n".join(["subject,session,path", *rows, "S9,1,sub-3_T1w.nii.gz"]))
    account = place.ingest(export / "scans.csv", timeout_s=20).account
    assert account.reasons == {"special_file": len(special)}
    assert account.ingested == 1


def test_a_pipe_beside_an_image_says_nothing_of_it(place: Place, tmp_path: Path) -> None:
    exports.nifti(3).to_filename(tmp_path / "sub-3_T1w.nii.gz")
    os.mkfifo(tmp_path / "sub-3_T1w.json")
    os.mkfifo(tmp_path / "sub-3_sessions.tsv")
    (tmp_path / "dataset_description.json").write_text("{}")
    account = place.ingest(tmp_path, timeout_s=20).account
    assert (account.ingested, account.files_seen) == (1, 4)


def test_a_text_that_cannot_be_read_holds_its_image_back(new_place: NewPlace, tmp_path: Path) -> None:
    """What it says (a date, say) would be missing for good."""
    exports.nifti(3).to_filename(tmp_path / "sub-3_ses-1_T1w.nii.gz")
    exports.nifti(4).to_filename(tmp_path / "sub-4_ses-1_T1w.nii.gz")
    car = tmp_path / "sub-3_ses-1_T1w.json"
    car.write_text('{"AcquisitionDate": "2020-01-02"}')
    place, undisturbed = new_place(), new_place()
    car.chmod(0)
    code, facts, _ = machine.ingest(tmp_path, place, machine.as_anybody)
    assert (code, facts["reasons"], facts["ingested"]) == (4, {"unreadable_file": 2}, 1)
    car.chmod(0o644)
    place.ingest(tmp_path)
    undisturbed.ingest(tmp_path)
    assert place.scans()["flags"].tolist().count([]) == 1
    assert place.account() == undisturbed.account()


def test_a_worker_says_what_ended_it() -> None:
    ends = {"killed": "out_of_memory", "memory": "out_of_memory", "disk": "read_error", "crash": "", "bug": ""}
    with Workers(2, 30) as many:
        results = dict(many.each(_end, list(ends)))
    with Workers(1, 1) as one:
        ((_, hung),) = one.each(_end, ["hang"])
    assert [results[number].reason for number in range(len(ends))] == list(ends.values())
    assert [type(results[number]) for number in range(4)] == [
        WorkerDiedError, WorkerLostError, WorkerLostError, WorkerDiedError,
    ]  # fmt: skip
    assert (type(hung), hung.reason) == (WorkerHungError, "timed_out")


def _end(how: str) -> None:
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "hang":
        time.sleep(60)
    raise {"memory": MemoryError(), "disk": OSError(5, "Input/output error")}.get(how, ValueError())


def test_every_trouble_says_to_run_again() -> None:
    assert set(MACHINE_REASONS) <= set(REASON_HINTS)
    assert all("run again" in hint for hint in MACHINE_REASONS.values())


def test_a_locked_catalogue_is_said_and_nothing_is_lost(
    place: Place, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.ingest(export / "a")
    monkeypatch.setattr(tables, "LOCK_TIMEOUT_S", 0.2)
    with closing(sqlite3.connect(place.data / "catalogue.sqlite")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseFailedError, match="locked") as raised:
            place.ingest(export)
    assert console_output.explain_error(raised.value)[1] == 6
    assert place.ingest(export).account.ingested == 13


def test_a_raw_error_of_a_full_disk_is_said_in_one_line(tmp_path: Path) -> None:
    message, code, _ = console_output.explain_error(
        OSError(28, "No space left on device", str(tmp_path / "x" / "page.html"))
    )
    assert message.startswith(f"no space left on the disk of {tmp_path / 'x'}")
    assert (code, NoSpaceError.exit_code) == (6, 6)


def test_volumes_that_found_no_space_are_made_by_the_next_run(new_place: NewPlace, export: Path) -> None:
    """One volume is larger than a file may be; all else is written."""
    _noise(export / "sub-4_T1w.nii.gz")
    place, undisturbed = new_place(), new_place()
    code, facts, said = machine.ingest(export, place, machine.with_small_files(1_500_000))
    assert code == 6
    assert said.startswith(f"siamese-med: no space left on the disk of {place.data}")
    assert said.count("\n") == 1
    assert facts["reasons"] == {"no_disk_space": 1, "not_an_image": 1}
    assert machine.balanced(facts)
    code, facts, _ = machine.ingest(export, place)
    assert (code, facts["ingested"]) == (4, 14)
    machine.ingest_here(export, undisturbed)
    assert machine.different(place, undisturbed) == []


def _noise(path: Path, seed: int = 0) -> None:
    import nibabel as nib

    voxels = np.random.default_rng(seed).integers(-30000, 30000, (100, 100, 100)).astype(np.int16)
    nib.Nifti1Image(voxels, np.eye(4)).to_filename(path)


@pytest.mark.parametrize(
    "kilobytes", [48, pytest.param(8, marks=pytest.mark.long), pytest.param(90, marks=pytest.mark.long)]
)
def test_a_catalogue_that_finds_no_space_ends_the_run_in_one_line(
    new_place: NewPlace, export: Path, kilobytes: int
) -> None:
    place, undisturbed = new_place(), new_place()
    code, facts, said = machine.ingest(export, place, machine.with_small_files(kilobytes * 1024))
    assert (code, said.count("\n")) == (6, 1), (said, facts.get("reasons"))
    assert "space" in said
    assert "Traceback" not in said
    machine.ingest(export, place)
    machine.ingest_here(export, undisturbed)
    assert machine.different(place, undisturbed) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small disk can be mounted by root alone")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full_for_a_while(new_place: NewPlace, export: Path, small_disk: Path, secret: Path) -> None:
    place, undisturbed = Place(small_disk / "data", secret), Place(new_place().data.parent / "data", secret)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 20_000)
    for number in range(4):
        _noise(export / f"sub-{number + 5}_T1w.nii.gz", number)
    code, facts, said = machine.ingest(export, place)
    assert (code, said.count("\n")) == (6, 1), (said, facts.get("reasons"))
    assert "no space left on the disk of" in said
    assert "undecodable" not in facts.get("reasons", {})
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
    assert machine.ingest(export, place)[0] == 4
    machine.ingest_here(export, undisturbed)
    assert machine.different(place, undisturbed) == []


def test_reports_on_a_full_disk_end_the_run_in_one_line(place: Place, export: Path, small_disk: Path) -> None:
    reports = place.data.with_name("data-reports")
    reports.symlink_to(small_disk)
    (small_disk / "filler").write_bytes(b"x" * 290_000)
    code, facts, said = machine.ingest(export, place)
    assert (code, said.count("\n")) == (6, 1), (said, facts.get("reasons"))
    assert said.startswith(f"siamese-med: no space left on the disk of {reports}")
    (small_disk / "filler").unlink()
    code, facts, _ = machine.ingest(export, place)
    assert (code, facts["ingested"]) == (4, 13)
    assert (reports / "ingest.html").is_file()
    reports.unlink()


def test_a_data_set_whose_description_cannot_be_read_waits(new_place: NewPlace, tmp_path: Path) -> None:
    """Whose labels these are is not known, so that nobody may come of them."""
    for name in ("one", "two"):
        folder = tmp_path / "in" / name / "sub-01" / "anat"
        folder.mkdir(parents=True)
        exports.nifti(len(name) + ord(name[0])).to_filename(folder / "sub-01_T1w.nii.gz")
        (tmp_path / "in" / name / "dataset_description.json").write_text(
            f'{{"Name": "{name}", "BIDSVersion": "1.9.0"}}'
        )
    place, undisturbed = new_place(), new_place()
    description = tmp_path / "in" / "two" / "dataset_description.json"
    description.chmod(0)
    code, facts, _ = machine.ingest(tmp_path / "in", place, machine.as_anybody)
    assert (code, facts["ingested"], facts["reasons"]["unreadable_file"]) == (4, 1, 2)
    description.chmod(0o644)
    place.ingest(tmp_path / "in")
    undisturbed.ingest(tmp_path / "in")
    assert place.account() == undisturbed.account()
    assert sorted(place.scans()["subject"]) == sorted(undisturbed.scans()["subject"])
