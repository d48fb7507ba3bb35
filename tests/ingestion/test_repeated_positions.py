"""Series that take their places several times: a volume is made only of slices that a tag puts together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from siamese_med.ingestion.catalogue import catalogue
from siamese_med.ingestion.reasons import REASON_HINTS
from tests.ingestion import exports
from tests.ingestion.conftest import Place
from tests.ingestion.uids import new_uid

CT = "1.2.840.10008.5.1.4.1.1.2"

TELLING = {
    "ConvolutionKernel": ("B30f", "B70f"),
    "FilterType": ("SMOOTH", "SHARP"),
    "KVP": ("80", "140"),
    "MonoenergeticEnergyEquivalent": (40.0, 70.0),
    "ReconstructionMethod": ("OSEM", "FBP"),
    "CorrectedImage": (["DECY", "ATTN"], ["DECY"]),
    "ContrastBolusAgent": ("", "Iomeprol"),
    "ReceiveCoilName": ("H1", "H2"),
    "SliceThickness": (2.0, 5.0),
    "SeriesDescription": ("sag T1 MPRAGE", "sag T1 MPRAGE DIS"),
    "SeriesNumber": (3, 4),
    "ImageType": (["DERIVED", "PRIMARY", "AXIAL", "E_40"], ["DERIVED", "PRIMARY", "AXIAL", "E_70"]),
}
"""Tags that say what the second volume at the same places is."""

TIMES = {
    "TemporalPositionIdentifier": (1, 2),
    "AcquisitionNumber": (1, 2),
    "TriggerTime": ("10", "400"),
    "DiffusionBValue": (0.0, 1000.0),
    "DiffusionGradientOrientation": ([0.0, 1.0, 0.0], [1.0, 0.0, 0.0]),
    "SequenceName": ("ep_b1000#1", "ep_b1000#2"),
    "FrameReferenceTime": ("100", "200"),
    "AcquisitionTime": ("101010", "101510"),
}
"""Tags that say when or how the same thing was taken again."""


def twice(keyword: str = "", values: tuple[Any, Any] = ("", ""), same_numbers: bool = True) -> list[Dataset]:
    """Six places taken twice in one series, with other pixels; slice by slice, as an archive may list them."""
    volumes = [exports.series(seed=seed) for seed in (1, 2)]
    for volume, value in zip(volumes, values, strict=True):
        for number, dataset in enumerate(volume):
            first = volumes[0][0]
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = first.StudyInstanceUID, first.SeriesInstanceUID
            dataset.FrameOfReferenceUID = first.FrameOfReferenceUID
            dataset.InstanceNumber = number + 1 if same_numbers else 2 * number + 1 + (volume is volumes[1])
            if keyword:
                setattr(dataset, keyword, value)
    return [dataset for pair in zip(*volumes, strict=True) for dataset in pair]


def volumes_of(place: Place, folder: Path) -> list[np.ndarray]:
    """Sorted stored voxels of every scan that a folder's files are part of."""
    files = catalogue.read_file_table(place.url).set_index("sha256")["scan"]
    scans = {files[exports.digest(path)] for path in folder.iterdir()} - {""}
    return [np.sort(place.voxels(scan).ravel()) for scan in sorted(scans)]


def is_volume(voxels: np.ndarray, *seeds: int) -> bool:
    """Whether these are all voxels of one of the volumes that were written, and of no other."""
    return any(np.array_equal(voxels, np.sort(exports.voxels(seed).ravel())) for seed in seeds)


@pytest.fixture(scope="module")
def told_apart(new_place: Callable[[], Place], tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Path]:
    """A series for each telling tag, ingested with the setting that takes the first of repeats."""
    folder, place = tmp_path_factory.mktemp("told"), new_place()
    for keyword, values in TELLING.items():
        exports.write(folder / keyword, twice(keyword, values))
    place.ingest(folder, volume_of_4d="first")
    return place, folder


@pytest.mark.parametrize("keyword", TELLING)
def test_a_tag_that_tells_volumes_apart_makes_one_of_each(told_apart: tuple[Place, Path], keyword: str) -> None:
    place, folder = told_apart
    found = volumes_of(place, folder / keyword)
    assert len(found) == 2
    assert all(is_volume(voxels, 1, 2) for voxels in found)
    assert not np.array_equal(found[0], found[1])


@pytest.mark.parametrize("rule", ["refuse", "first", "mean"])
def test_two_kernels_of_one_ct_series_are_two_volumes(place: Place, tmp_path: Path, rule: str) -> None:
    slices = [exports.of_class(CT, one) for one in twice("ConvolutionKernel", ("B30f", "B70f"))]
    for dataset in slices:
        dataset.Modality, dataset.AcquisitionNumber, dataset.AcquisitionTime = "CT", 1, "101010"
    exports.write(tmp_path, slices)
    ingested = place.ingest(tmp_path, volume_of_4d=rule)
    assert (ingested.account.ingested, len(ingested.scans)) == (12, 2)
    assert all(is_volume(voxels, 1, 2) for voxels in volumes_of(place, tmp_path))


def test_repeats_that_a_time_tells_apart_can_be_asked_for(new_place: Callable[[], Place], tmp_path: Path) -> None:
    for keyword, values in TIMES.items():
        exports.write(tmp_path / keyword, twice(keyword, values))
    count = len(TIMES)
    assert new_place().ingest(tmp_path).account.reasons == {"ndim_4": 12 * count}
    first, mean = new_place(), new_place()
    assert first.ingest(tmp_path, volume_of_4d="first").account.reasons == {"repeat": 6 * count}
    for keyword in TIMES:
        (voxels,) = volumes_of(first, tmp_path / keyword)
        assert is_volume(voxels, 1), keyword
    assert mean.ingest(tmp_path, volume_of_4d="mean").account.ingested == 12 * count
    assert all("mean_of_repeats" in flags for flags in mean.scans()["flags"])


@pytest.mark.parametrize("rule", ["refuse", "first", "mean"])
def test_what_no_tag_tells_apart_is_never_put_together(place: Place, tmp_path: Path, rule: str) -> None:
    exports.write(tmp_path / "one", twice())
    exports.write(tmp_path / "two", twice(same_numbers=False))  # the numbers within a place may be of any order
    ingested = place.ingest(tmp_path, volume_of_4d=rule)
    assert ingested.account.reasons == {"unclear_repeats": 24}
    assert "volume_of_4d" not in REASON_HINTS["unclear_repeats"]


def test_numbers_that_run_on_tell_two_volumes_apart(place: Place, tmp_path: Path) -> None:
    slices = twice()
    for number, dataset in enumerate(slices):
        dataset.InstanceNumber = number // 2 + 1 + 6 * (number % 2)
    exports.write(tmp_path, slices)
    place.ingest(tmp_path, volume_of_4d="first")
    assert is_volume(volumes_of(place, tmp_path)[0], 1)


def test_clocks_in_no_order_tell_nothing(place: Place, tmp_path: Path) -> None:
    slices = twice()
    for number, dataset in enumerate(slices):  # either kernel was first, by chance
        dataset.ContentTime = f"1010{10 + (number ^ (number // 2 % 2)):02d}"
    for dataset in slices[1:3]:
        dataset.ContentTime = "101059"
    exports.write(tmp_path, slices)
    assert place.ingest(tmp_path, volume_of_4d="first").account.reasons == {"unclear_repeats": 12}


def test_slices_with_a_clock_of_their_own_are_told_apart_in_time(place: Place, tmp_path: Path) -> None:
    slices = twice()
    for number, dataset in enumerate(slices):  # one volume after the other, each slice later than the one before
        dataset.AcquisitionTime = f"1010{10 + number // 2 + 6 * (number % 2):02d}.5"
    exports.write(tmp_path, slices)
    place.ingest(tmp_path, volume_of_4d="first")
    assert is_volume(volumes_of(place, tmp_path)[0], 1)


def test_a_last_volume_that_was_cut_off_is_not_taken(place: Place, tmp_path: Path) -> None:
    slices = twice("TemporalPositionIdentifier", (2, 1))
    exports.write(tmp_path, [one for number, one in enumerate(slices) if number not in (1, 3)])
    place.ingest(tmp_path, volume_of_4d="first")
    assert is_volume(volumes_of(place, tmp_path)[0], 1)


def test_a_tag_that_changes_along_the_stack_splits_nothing(place: Place, tmp_path: Path) -> None:
    slices = twice("TemporalPositionIdentifier", (1, 2))
    for number, dataset in enumerate(slices):
        dataset.SliceThickness = 2.0 if number < 7 else 3.0
    exports.write(tmp_path, slices)
    ingested = place.ingest(tmp_path, volume_of_4d="first")
    assert len(ingested.scans) == 1
    assert is_volume(volumes_of(place, tmp_path)[0], 1)


@pytest.mark.parametrize(("storage", "taken"), [(exports.MR, True), (CT, False)])
def test_a_long_series_numbered_place_by_place_is_one_in_time(
    place: Place, tmp_path: Path, storage: str, taken: bool
) -> None:
    slices = twice() + twice()
    for number, dataset in enumerate(slices):  # four at each of six places
        dataset.SOPInstanceUID = new_uid()
        dataset.InstanceNumber = 100 * (number % 12 // 2) + number % 2 + 2 * (number // 12) + 1
        exports.fill(dataset, exports.voxels(1 + number % 2 + 2 * (number // 12))[number % 12 // 2])
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = slices[0].SeriesInstanceUID, slices[0].StudyInstanceUID
        dataset.FrameOfReferenceUID = slices[0].FrameOfReferenceUID
    exports.write(tmp_path, [exports.of_class(storage, one) for one in slices])
    ingested = place.ingest(tmp_path, volume_of_4d="first")
    assert ingested.account.reasons == ({"repeat": 18} if taken else {"unclear_repeats": 24})
    assert all(is_volume(voxels, 1) for voxels in volumes_of(place, tmp_path))
