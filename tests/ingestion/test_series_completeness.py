"""Series of which slices are missing without a gap, and whole ones that look alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.ingestion import exports
from tests.ingestion.conftest import Place

GAP = exports.GAP


def _every_second(**tags: Any) -> list[Dataset]:
    return exports.series("P", 1, slices=12, **tags)[::2]


def _numbered(series: list[Dataset], first: int = 1, step: int = 1) -> list[Dataset]:
    for place, dataset in enumerate(series):
        dataset.InstanceNumber = first + place * step
    return series


@pytest.mark.parametrize(
    ("series", "flags"),
    [
        (_every_second(SliceThickness=GAP), ["incomplete_series"]),
        (_every_second(SliceThickness=None), ["incomplete_series"]),
        (_numbered(_every_second(SpacingBetweenSlices=GAP, SliceThickness=GAP)), ["incomplete_series"]),
        (_every_second(SpacingBetweenSlices=2 * GAP, SliceThickness=GAP), []),  # one of two echoes, split by an archive
        (_every_second(SliceThickness=2 * GAP), []),  # neighbours would overlap by half: echoes numbered in turn
        (exports.series("P", 1, SpacingBetweenSlices=GAP, SliceThickness=GAP / 2), []),  # slices with a gap between
        (exports.series("P", 1, SpacingBetweenSlices=GAP, SliceThickness=2 * GAP), []),  # they overlap
        (exports.series("P", 1, SpacingBetweenSlices=GAP / 2.5), []),
        (
            exports.series("P", 1, SpacingBetweenSlices=GAP / 3, ImageType=["DERIVED", "PRIMARY", "MPR"]),
            ["reformatted"],
        ),
        (exports.series("P", 1, ImagesInAcquisition=12), ["incomplete_series"]),
        (exports.series("P", 1, ImagesInAcquisition=6), []),
        (exports.series("P", 1, ImagesInAcquisition=3), []),
        (exports.series("P", 1, ImagesInAcquisition=12, ImageType=["DERIVED", "PRIMARY", "ADC"]), []),
        (_numbered(exports.series("P", 1), 41), []),
    ],
)
def test_slices_that_are_missing_without_a_gap_are_said(
    place: Place, tmp_path: Path, series: list[Dataset], flags: list[str]
) -> None:
    exports.write(tmp_path, series)
    (scan,) = place.ingest(tmp_path).scans.itertuples()
    assert scan.flags == flags


def test_numbers_and_spacing_together_are_a_proof(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path, _every_second(SpacingBetweenSlices=GAP, SliceThickness=GAP))
    ingested = place.ingest(tmp_path)
    assert (len(ingested.scans), ingested.account.reasons) == (0, {"missing_slice": 6})


def test_every_third_slice_too(place: Place, tmp_path: Path) -> None:
    exports.write(tmp_path, exports.series("P", 1, slices=12, SpacingBetweenSlices=GAP)[::3])
    assert place.ingest(tmp_path).account.reasons == {"missing_slice": 4}


def test_echoes_in_one_series_are_whole(place: Place, tmp_path: Path) -> None:
    first, second = (exports.series("P", echo, EchoTime=5.0 * echo, SpacingBetweenSlices=GAP) for echo in (1, 2))
    for one, other in zip(first, second, strict=True):
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(other, keyword, getattr(one, keyword))
        one.InstanceNumber, other.InstanceNumber = 2 * one.InstanceNumber - 1, 2 * one.InstanceNumber
    exports.write(tmp_path, [*first, *second])
    assert [scan.flags for scan in place.ingest(tmp_path).scans.itertuples()] == [[], []]


def test_every_second_frame_of_an_enhanced_file(place: Place, tmp_path: Path) -> None:
    dataset = exports.enhanced()
    shared = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    shared.SpacingBetweenSlices = GAP / 2
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        frame.FrameContentSequence[0].InStackPositionNumber = 2 * number + 1
    exports.write(tmp_path, [dataset])
    assert place.ingest(tmp_path).account.reasons == {"missing_slice": 1}
