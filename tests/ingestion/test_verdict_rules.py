"""A verdict that depends on a setting or on what is installed is given anew once that is another one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import processes
from siamese_med.ingestion import workers
from tests.ingestion import exports, machine
from tests.ingestion.conftest import Place

NewPlace = Callable[[], Place]


def nifti_4d(path: Path) -> None:
    import nibabel as nib

    voxels = np.random.default_rng(0).integers(0, 3000, (12, 10, 8, 3)).astype(np.int16)
    nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(path)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A series of 6 slices, one of 2, a repeated series and a repeated NIfTI, and what is never a scan."""
    folder = tmp_path / "export"
    exports.write(folder / "six", exports.series("PAT-1", seed=1))
    exports.write(folder / "two", exports.series("PAT-2", seed=2, slices=2))
    repeats = exports.series("PAT-3", seed=3)
    for turn, dataset in enumerate(exports.series("PAT-3", seed=4)):
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(dataset, keyword, getattr(repeats[0], keyword))
        dataset.InstanceNumber = 7 + turn
        repeats.append(dataset)
    exports.write(folder / "repeats", repeats)
    nifti_4d(folder / "sub-4_bold.nii.gz")
    (folder / "note").write_text("a text")
    return folder


STEPS: list[dict[str, Any]] = [
    {}, {"min_slices": 2}, {}, {"min_slices": 7}, {}, {"max_gigabytes": 1e-5}, {"volume_of_4d": "first"},
    {"volume_of_4d": "mean"}, {"volume_of_4d": "first"}, {},
]  # fmt: skip
"""Settings one after the other, so that each limit is set, changed and taken back."""


def test_a_changed_setting_gives_what_it_gives_a_new_study(new_place: NewPlace, export: Path) -> None:
    place = new_place()
    news = {str(settings): new_place() for settings in STEPS}
    expected = {str(settings): news[str(settings)].ingest(export, **settings).account for settings in STEPS}
    assert len({account.ingested for account in expected.values()}) > 3
    columns = ["subject", "sha256", "flags", "shape"]
    for settings in STEPS:
        name = str(settings)
        assert (name, place.ingest(export, **settings).account) == (name, expected[name])
        scans, new = (one.scans()[columns].sort_values("sha256", ignore_index=True) for one in (place, news[name]))
        assert scans.equals(new), name


@pytest.mark.parametrize("settings", [{"volume_of_4d": "first"}, {"max_gigabytes": 1e-5}], ids=str)
def test_the_same_settings_read_nothing_again(
    place: Place, export: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = place.ingest(export, **settings)
    monkeypatch.setattr(workers.Workers, "_call", _no_worker)
    assert place.ingest(export, **settings).account == first.account


def _no_worker(*_: object) -> object:
    raise AssertionError("a worker was asked although nothing is new")


def test_another_input_with_other_settings_changes_nothing_for_this_one(place: Place, export: Path) -> None:
    """The settings are remembered with each verdict, not once for all."""
    assert place.ingest(export / "two").account.reasons == {"too_few_slices": 2}
    place.ingest(export / "six", min_slices=2)
    assert place.ingest(export / "two", min_slices=2).account.ingested == 2


HIDDEN = """
import importlib.machinery, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {modules!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture
def without_decoders(tmp_path: Path) -> dict[str, str]:
    """An environment in which the optional decoders are not installed."""
    modules = {"gdcm", "openjpeg", "pylibjpeg", "PIL", "libjpeg", "rle", "jpeg_ls"}
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDDEN.format(modules=modules))
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "hidden"), str(processes.ROOT)])}


def test_a_decoder_that_is_installed_later_decodes_what_was_refused(
    new_place: NewPlace, tmp_path: Path, without_decoders: dict[str, str]
) -> None:
    from tests.ingestion import dicom_cases

    dicom_cases.jpeg_2000(tmp_path / "in")
    place, undisturbed = new_place(), new_place()
    config = processes.settings(place.data.parent / "settings", workers=1, secret_file=str(place.secret))
    command = processes.ingest_command(tmp_path / "in", place.data, config, "--json")
    first = subprocess.run(command, env={**os.environ, **without_decoders}, capture_output=True, text=True, check=False)
    assert '"undecodable"' in first.stdout, first.stderr
    code, facts, _ = machine.ingest(tmp_path / "in", place)
    assert (code, facts["ingested"]) == (0, 6)
    machine.ingest_here(tmp_path / "in", undisturbed)
    assert machine.different(place, undisturbed) == []
