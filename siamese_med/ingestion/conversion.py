"""Conversion of one volume from its files to a NIfTI below the data folder; runs in a worker process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med.errors import MachineError
from siamese_med.imaging import thumbnails, volume
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import image_contrast, machine_errors, masks, nifti
from siamese_med.ingestion.burned_in_text import shows_text
from siamese_med.ingestion.contrast_finding import NO_CONTRAST, ContrastFinding
from siamese_med.ingestion.defacing import remove_face
from siamese_med.ingestion.dicom import pixels
from siamese_med.ingestion.dicom.instances import PixelStorage
from siamese_med.ingestion.dicom.slice_geometry import SliceStack
from siamese_med.ingestion.masks import DIFFERENCE_MASK, LESION_MASK, REGION_MASK, MaskKind
from siamese_med.ingestion.reasons import RejectedError
from siamese_med.ingestion.scan_checks import check_scan
from siamese_med.plugins import Plugin
from siamese_med.study.vocabulary import UNKNOWN, ScanFlag

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_LABELS = 8
"""Whole numbers up to which a volume is a map of labels: tissues or parts of a tumour. Source: our choice; measured
values are thousands, and some hundred where they have 8 bits."""

PLAUSIBLE_EXTENT_MM = (5.0, 2500.0)
"""The two longest sides of a scan of a person: from a small organ to the whole body. Source: our choice."""

MAX_EDGE_MM = 25.0
"""No voxel of a scan is longer. Source: our choice; such edges are a tenth of millimetres, read as centimetres."""

MIN_FIELD_MM, FIELD_VOXELS = 40.0, 64
"""A field of view with so many voxels across is not smaller: centimetres that were written as millimetres.

Source: our choice."""

MIN_DEPTH_MM = 0.9
"""No side is shorter: three slices of .3 mm. Source: our choice."""

MIN_BODY_SHARE = 0.02
"""A slice with this share of its voxels over the darkest value shows something of a body."""
EMPTY_SHARE, EMPTY_FILE_SHARE = 0.25, 0.5
"""So many slices without measured values at one end are said: of a DICOM series, of a file. Source: our choice."""


@dataclass(frozen=True)
class ConversionJob:
    """Instructions for one conversion: what to decode and where to write it.

    Either `repeats` and `storages` (stacks of DICOM slices) or `nifti` (header path, voxel path) is set. `mask`,
    `lesions` and `difference` are paths of masks on the scan's grid, empty for none; unless `lesions_named`, the
    lesions may be those of another scan of the visit. `frames_of_reference` are those of the DICOM slices, for lesions
    that are a DICOM Segmentation. `checks` are the user's own, see `scan_checks`. With `contrast_wanted` the image is
    asked for its contrast, since neither name nor header of this `modality` tell it; `contrast` is what they tell. With
    `deface`, the face is removed before anything is written. `states` has path, size and time of change (ns) of each
    file when it was listed.
    """

    repeats: tuple[SliceStack, ...] = ()
    storages: tuple[tuple[str, PixelStorage], ...] = ()
    nifti: tuple[str, str] | None = None
    mask: str = ""
    lesions: str = ""
    difference: str = ""
    lesions_named: bool = True
    frames_of_reference: tuple[str, ...] = ()
    target: str = ""
    volume_of_4d: str = "refuse"
    max_gigabytes: float = 4.0
    min_slices: int = 3
    checks: tuple[Plugin, ...] = ()
    contrast_wanted: bool = False
    modality: str = UNKNOWN
    contrast: str = UNKNOWN
    deface: bool = False
    states: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True)
class ConvertedVolume:
    """The properties of a written volume; or a reason word, with the content hash of the file at fault (`culprit`).

    `affine` is 4x4, voxel to RAS+ mm; `sha256` is that of voxels and affine; `thumbnail` is a WebP; `contrast` is what
    the image told, if it was asked; `masks` are the kinds of mask that were written beside it.
    """

    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    affine: tuple[tuple[float, ...], ...] = ()
    sha256: str = ""
    flags: tuple[str, ...] = ()
    nan_voxels: int = 0
    thumbnail: bytes = b""
    masks: tuple[MaskKind, ...] = ()
    reason: str = ""
    culprit: str | None = None
    contrast: ContrastFinding = NO_CONTRAST


def convert_volume(job: ConversionJob) -> ConvertedVolume:
    """Decode a volume, check it, and write it with its masks.

    Errors of content and machine do not raise; they are returned as reason words.
    """
    try:
        decoded, flags, nan_voxels = _decode_unchanged(job)
        told = _read_contrast(job, decoded)
        faceless = remove_face(decoded, told.contrast if job.contrast_wanted else job.contrast) if job.deface else None
    except RejectedError as rejected:
        return ConvertedVolume(reason=rejected.reason, culprit=rejected.file)
    except (OSError, MemoryError) as error:
        return ConvertedVolume(reason=machine_errors.find_machine_error_reason(error) or "undecodable")
    if faceless:
        decoded, flags = faceless.scan, [*flags, ScanFlag.DEFACED]
    try:
        volume.write_volume(Path(job.target), decoded)
        unused = _write_masks(job, decoded, faceless.removed if faceless else None)
    except (OSError, MachineError) as error:
        return ConvertedVolume(reason=machine_errors.find_write_error_reason(error))
    return ConvertedVolume(
        shape=tuple(decoded.voxels.shape),
        spacing_mm=tuple(round(float(edge), 6) for edge in decoded.spacing_mm),
        affine=tuple(tuple(round(float(one), 6) + 0.0 for one in row) for row in decoded.affine),
        sha256=decoded.content_digest(),
        flags=(*flags, *filter(None, unused.values())),
        masks=tuple(kind for kind, flag in unused.items() if not flag),
        nan_voxels=nan_voxels,
        thumbnail=thumbnails.make_thumbnail_strip(decoded),
        contrast=told,
    )


def _decode_unchanged(job: ConversionJob) -> tuple[Volume, list[str], int]:
    """Decode as `decode_volume` does. What is wrong with a file that was written to meanwhile is only that."""
    try:
        decoded = decode_volume(job)
    except RejectedError:
        _check_unchanged(job)
        raise
    _check_unchanged(job)
    return decoded


def _check_unchanged(job: ConversionJob) -> None:
    """Refuse files that were written to since they were listed: header and voxels may be of two contents."""
    for path, *state in job.states:
        found = Path(path).stat()
        if state != [found.st_size, found.st_mtime_ns]:
            raise RejectedError("file_changed")


def _write_masks(job: ConversionJob, decoded: Volume, hidden: NDArray[np.bool_] | None) -> dict[MaskKind, str]:
    """Write the masks of a job, and return the flag of each kind; empty where the mask was written.

    They mark nothing in what is `hidden`, the face that was removed: a mask of the head has its shape.
    """
    given = {REGION_MASK: job.mask, LESION_MASK: job.lesions, DIFFERENCE_MASK: job.difference}
    written = {
        kind: masks.write_mask(
            Path(path), Path(job.target), decoded, kind, job.max_gigabytes, job.frames_of_reference, hidden
        )
        for kind, path in given.items()
        if path
    }
    if not job.lesions_named and written.get(LESION_MASK) == LESION_MASK.unused:
        del written[LESION_MASK]  # it lies on the grid of another scan of the visit
    return written


def decode_volume(job: ConversionJob) -> tuple[Volume, list[str], int]:
    """Decode a volume without writing it.

    Returns
    -------
    volume : Volume
        In RAS+ orientation.
    flags : list of str
        Flags that the voxels give rise to, see `reasons.SCAN_FLAGS`.
    nan_voxels : int
        Voxels that were no finite number and were set to zero.

    Raises
    ------
    RejectedError
        The volume cannot be used, or one of the user's checks refuses it.
    """
    found = _decode(job)
    check_scan(found[0], job.checks)
    return found


def _decode(job: ConversionJob) -> tuple[Volume, list[str], int]:
    if job.nifti is None:
        decoded = pixels.decode_slices(job.repeats, dict(job.storages), job.max_gigabytes)
        if _holds_labels(decoded):  # a mask that was stored as a series of images
            raise RejectedError("non_image")
        return decoded, _flag_voxels(decoded, EMPTY_SHARE), 0
    header, voxels = map(Path, job.nifti)
    found = nifti.decode_nifti(header, voxels, job.volume_of_4d, job.max_gigabytes, job.min_slices)
    if _holds_labels(found[0]):  # a mask beside the scans whose name does not say so, such as tumour.nii.gz
        raise RejectedError("non_image")
    return found[0], [*found[1], *_flag_voxels(found[0], EMPTY_FILE_SHARE)], found[2]


def _flag_voxels(decoded: Volume, empty_share: float) -> list[str]:
    text = [ScanFlag.BURNED_IN] if shows_text(decoded.voxels) else []
    return [*_flag_size(decoded), *_flag_empty(decoded, empty_share), *text]


def _flag_size(decoded: Volume) -> list[str]:
    depth, width, length = sorted(map(float, decoded.spacing_mm * decoded.voxels.shape))
    plausible = width >= PLAUSIBLE_EXTENT_MM[0] and length <= PLAUSIBLE_EXTENT_MM[1] and depth >= MIN_DEPTH_MM
    coarse = float(max(decoded.spacing_mm)) > MAX_EDGE_MM
    tiny = length < MIN_FIELD_MM and sorted(decoded.voxels.shape)[1] >= FIELD_VOXELS
    return [ScanFlag.IMPLAUSIBLE_SIZE] if coarse or tiny or not plausible else []


def _flag_empty(decoded: Volume, share: float) -> list[str]:
    return [ScanFlag.EMPTY_SLICES] if has_empty_slices(decoded.voxels, share) else []


def has_empty_slices(voxels: NDArray[Any], share: float = EMPTY_SHARE) -> bool:
    """Tell whether slices along an axis hold one value each: a share of them at one end, or any between others.

    Measured slices have noise. Brain extraction leaves empty ends in files, so more of them are allowed there.

    Examples
    --------
    >>> import numpy as np
    >>> measured = np.random.default_rng(0).integers(0, 99, (8, 8, 8))
    >>> has_empty_slices(measured), has_empty_slices(np.where(np.arange(8) < 4, 0, measured))
    (False, True)
    >>> has_empty_slices(np.where(np.arange(8) == 4, 0, measured))
    True
    >>> dark = np.zeros((40, 40, 40), dtype=int)
    >>> dark[8:32, 8:32, 8:32] = 50
    >>> dark[5, 5, 5] = 1  # noise that a scanner's threshold has left
    >>> has_empty_slices(dark)
    False
    """
    for axis, (lowest, highest) in enumerate(_list_slice_ranges(voxels)):
        others = tuple(n for n in range(3) if n != axis)
        measured = np.flatnonzero(highest != lowest)
        number = voxels.shape[axis]
        empty = max(measured[0], number - 1 - measured[-1]) if len(measured) else number
        between = len(measured) > 0 and len(measured) <= measured[-1] - measured[0]
        if empty >= share * number or (between and _has_empty_slice_in_body(voxels, others, measured)):
            return True
    return False


def _list_slice_ranges(voxels: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """List the smallest and largest values of all slices along each axis, reading the volume twice instead of thrice.

    Along the axis that is contiguous in memory NumPy reduces slowly, so that is left to planes.
    """
    slow, middle, fast = (int(n) for n in np.argsort([-abs(step) for step in voxels.strides]))
    order = (slow, middle, fast)
    turned = voxels.transpose(order)
    planes = [reduce(turned, axis=0) for reduce in (np.min, np.max)]  # over the slow axis: middle x fast
    columns = [reduce(turned, axis=1) for reduce in (np.min, np.max)]  # over the middle axis: slow x fast
    found = {
        slow: (columns[0].min(1), columns[1].max(1)),
        middle: (planes[0].min(1), planes[1].max(1)),
        fast: (planes[0].min(0), planes[1].max(0)),
    }
    return [found[axis] for axis in range(3)]


def _has_empty_slice_in_body(voxels: NDArray[Any], others: tuple[int, ...], measured: NDArray[np.intp]) -> bool:
    """Tell whether a slice that is not `measured` lies between two that show a body: a few voxels of noise are none."""
    body = np.flatnonzero((voxels > voxels.min()).mean(others) >= MIN_BODY_SHARE)
    if not len(body):
        return False
    return bool(((measured >= body[0]) & (measured <= body[-1])).sum() <= body[-1] - body[0])


def _holds_labels(decoded: Volume) -> bool:
    """Tell whether a volume holds two values, or so few whole numbers that it is a map of labels and no image."""
    voxels = decoded.voxels
    some = np.unique(voxels[::4, ::4, ::4])  # a tenth of the work, and enough for what is measured
    if len(some) > MAX_LABELS:
        return False
    values = np.unique(voxels)
    return len(values) <= 2 or (len(values) <= MAX_LABELS and bool((values == np.round(values)).all()))


def _read_contrast(job: ConversionJob, decoded: Volume) -> ContrastFinding:
    return image_contrast.read_contrast_of_image(decoded, job.modality) if job.contrast_wanted else NO_CONTRAST


def try_decode_volume(job: ConversionJob) -> tuple[Volume, ContrastFinding] | RejectedError:
    """Decode a volume in a worker and return its voxels, and what the image tells of its contrast, if that is wanted.

    A RejectedError is returned, not raised, since only values cross the pipe to the parent process.
    """
    try:
        decoded, _, _ = decode_volume(job)
    except RejectedError as rejected:
        return rejected
    return decoded, _read_contrast(job, decoded)
