"""The lesions of a DICOM Segmentation on the voxels of a scan, by the positions of its planes; runs in a worker."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med.ingestion.dicom import headers, planes, segmentations, segmented_properties, tags
from siamese_med.ingestion.reasons import RejectedError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

    from siamese_med.imaging.volume import Volume

MAX_OFFSET_VOXELS = 0.5
"""Largest distance of a voxel of the segmentation from a voxel of the scan, along each axis of the scan."""

READ_SYNTAXES = {f"1.2.840.10008.1.2{tail}" for tail in ("", ".1", ".1.99", ".5")}
"""Transfer syntaxes that are read: uncompressed, deflated, and RLE (PS3.5, annex A).

Others need decoders in C, in which a hostile file may end the process, and the scan would be lost with its mask.
"""

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class _Frame:
    """A frame on the scan's voxels: `start` is that of its first pixel, `step` (3, 2) a step along a row, a column."""

    index: int
    segment: int
    start: NDArray[np.intp]
    step: NDArray[np.intp]


def decode_lesion_segmentation(
    data: bytes, scan: Volume, max_gigabytes: float, frames_of_reference: Iterable[str] = ()
) -> NDArray[np.bool_]:
    """Decode the lesions of a DICOM Segmentation (PS3.3, section A.51), all segments in one mask.

    BINARY and LABELMAP segments are taken as they are, FRACTIONAL ones from half of their maximum on.

    Parameters
    ----------
    data
        All bytes of the file.
    scan
        The scan in RAS+ orientation.
    max_gigabytes
        Largest size of a compressed header, in 10^9 bytes. Frames are decoded one by one, and none is larger than the
        scan.
    frames_of_reference
        UIDs of the frames of reference of the scan's images; empty where there are none, as for a NIfTI file.

    Returns
    -------
    ndarray of bool, shape of the scan
        True inside a lesion.

    Raises
    ------
    RejectedError
        It is no segmentation, it has no segment that is a lesion, its planes do not lie on the scan's voxels within
        `MAX_OFFSET_VOXELS`, it lies in another frame of reference, or it is broken.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(data, scan, max_gigabytes, frozenset(frames_of_reference))
    except (RejectedError, MemoryError):
        raise
    except Exception as error:  # pydicom and its decoders may raise any exception
        raise RejectedError("undecodable") from error


def _decode(data: bytes, scan: Volume, max_gigabytes: float, references: frozenset[str]) -> NDArray[np.bool_]:
    header, _, _ = headers.parse_with_pydicom(data, max_gigabytes * 1e9)
    wanted = segmented_properties.find_lesion_segments(header)
    if not segmentations.is_segmentation(header) or not wanted:
        raise RejectedError("non_image")
    if references and tags.get_tag_text(header, "FrameOfReferenceUID") not in references:
        raise RejectedError("affine_conflict")
    if tags.get_tag_text(getattr(header, "file_meta", None), "TransferSyntaxUID") not in READ_SYNTAXES:
        raise RejectedError("undecodable")
    marked = np.zeros(scan.voxels.shape, dtype=bool)
    frames = _place_frames(header, wanted, scan)
    if not frames:
        return marked
    pixels = _read_pixels(data, [frame.index for frame in frames])
    for frame, values in zip(frames, pixels, strict=True):
        row, column = np.nonzero(_find_marked(header, values, wanted))
        along = frame.start[:, None] + frame.step[:, :1] * column + frame.step[:, 1:] * row
        marked[tuple(along)] = True
    return marked


def _read_pixels(data: bytes, indices: list[int]) -> Iterator[NDArray[Any]]:
    """Yield the stored values (row, column) of these frames.

    pydicom 3.0 cannot take single frames of one bit a pixel where frames do not end with a byte, so these are cut here.
    """
    import pydicom
    from pydicom.pixels.utils import iter_pixels

    whole = pydicom.dcmread(io.BytesIO(data), force=True)
    if whole.file_meta.TransferSyntaxUID.is_encapsulated or whole.BitsAllocated != 1:
        yield from iter_pixels(whole, indices=indices, raw=True, decoding_plugin="pydicom")
        return
    size = whole.Rows * whole.Columns
    for index in indices:
        start = index * size
        packed = np.frombuffer(whole.PixelData[start // 8 : -(-(start + size) // 8)], dtype=np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[start % 8 :][:size]
        yield bits.reshape(whole.Rows, whole.Columns)


def _find_marked(header: Dataset, values: NDArray[Any], wanted: frozenset[int]) -> NDArray[np.bool_]:
    """Return where a frame (row, column) marks a lesion."""
    kind = _get_type(header)
    if kind == "LABELMAP":
        return np.isin(values, sorted(wanted))
    if kind == "FRACTIONAL":
        highest = tags.get_tag_integer(header, "MaximumFractionalValue") or 0
        if highest <= 0:
            raise RejectedError("undecodable")
        found: NDArray[np.bool_] = 2 * values.astype(np.int64) >= highest
        return found
    return values > 0


def _get_type(header: Dataset) -> str:
    kind = tags.get_tag_text(header, "SegmentationType").upper()
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise RejectedError("undecodable")
    return kind


def _place_frames(header: Dataset, wanted: frozenset[int], scan: Volume) -> list[_Frame]:
    """Return the frames of the wanted segments on the scan's voxels; two frames of a segment never share a plane."""
    items = tags.list_items(header, "PerFrameFunctionalGroupsSequence")
    if not 0 < len(items) <= planes.MAX_FRAMES or len(items) != tags.get_tag_integer(header, "NumberOfFrames"):
        raise RejectedError("unreadable_header")
    shared = tags.get_first_item(header, "SharedFunctionalGroupsSequence")
    size = (tags.get_tag_integer(header, "Columns") or 0, tags.get_tag_integer(header, "Rows") or 0)
    to_voxel = np.linalg.inv(scan.affine)
    labelled = _get_type(header) == "LABELMAP"
    frames, places = [], set()
    for index, item in enumerate(items):
        segment = 0 if labelled else _read_segment_number(item, shared)
        if not labelled and segment not in wanted:
            continue
        frame = _place_frame(index, segment, (item, shared), size, (to_voxel, scan))
        place = (segment, *frame.start)
        if place in places:
            raise RejectedError("duplicate_position")
        places.add(place)
        frames.append(frame)
    return frames


def _read_segment_number(item: Dataset, shared: Dataset | None) -> int:
    named = _get_group((item, shared), "SegmentIdentificationSequence")
    number = tags.get_tag_integer(named, "ReferencedSegmentNumber")
    if not number:
        raise RejectedError("unreadable_header")
    return number


def _get_group(groups: tuple[Dataset, Dataset | None], name: str) -> Dataset | None:
    item, shared = groups
    return tags.get_first_item(item, name) or tags.get_first_item(shared, name)


def _place_frame(
    index: int,
    segment: int,
    groups: tuple[Dataset, Dataset | None],
    size: tuple[int, int],
    grid: tuple[NDArray[Any], Volume],
) -> _Frame:
    to_voxel, scan = grid
    measures = _get_group(groups, "PixelMeasuresSequence")
    position = tags.get_tag_numbers(_get_group(groups, "PlanePositionSequence"), "ImagePositionPatient", 3)
    turn = tags.get_tag_numbers(_get_group(groups, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    spacing = tags.get_tag_numbers(measures, "PixelSpacing", 2)
    if position is None or turn is None or spacing is None or min(size) <= 0:
        raise RejectedError("missing_geometry")
    edges = np.array([turn[:3], turn[3:]]).T * spacing[::-1] * LPS_TO_RAS[:, None]  # along a row, down a column
    step = to_voxel[:3, :3] @ edges
    start = to_voxel[:3, :3] @ (np.array(position) * LPS_TO_RAS) + to_voxel[:3, 3]
    far = np.array([[0, 1, 0, 1], [0, 0, 1, 1]]) * (np.array(size) - 1)[:, None]
    off = np.abs((step - np.rint(step)) @ far + (start - np.rint(start))[:, None])
    if not np.isfinite(off).all() or off.max() > MAX_OFFSET_VOXELS:
        raise RejectedError("affine_conflict")
    step, start = np.rint(step), np.rint(start)
    corners = start[:, None] + step @ far
    used = np.abs(step).sum(axis=1)
    if not _is_permutation(step) or (corners < 0).any() or (corners >= np.array(scan.voxels.shape)[:, None]).any():
        raise RejectedError("affine_conflict")
    _check_gap(tags.get_tag_number(measures, "SpacingBetweenSlices"), float(scan.spacing_mm[int(used.argmin())]))
    return _Frame(index, segment, start.astype(np.intp), step.astype(np.intp))


def _is_permutation(step: NDArray[np.float64]) -> bool:
    """Whether a step along a row and one down a column are one voxel each, along two axes of the scan."""
    whole = np.abs(step)
    return bool((whole.sum(axis=0) == 1).all() and (whole.sum(axis=1) <= 1).all())


def _check_gap(said: float | None, there: float) -> None:
    """Refuse planes that are thinner or thicker than the scan's; planes without a mark may be left out."""
    if said is not None and abs(abs(said) / there - 1) >= MAX_OFFSET_VOXELS:
        raise RejectedError("affine_conflict")
