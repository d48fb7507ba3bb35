"""The masks that a manifest names for a scan: checked like any file from outside, and stored beside the scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import machine_errors, nifti, nifti_header
from siamese_med.ingestion.dicom import headers, segmentation_masks
from siamese_med.ingestion.inputs import open_files
from siamese_med.ingestion.reasons import RejectedError
from siamese_med.study.vocabulary import ScanFlag

if TYPE_CHECKING:
    from numpy.typing import NDArray

NIFTI_GZ_ENDING, NIFTI_ENDING = ".nii.gz", ".nii"
"""Endings of scans and their masks, compressed and not."""


@dataclass(frozen=True)
class MaskKind:
    """A kind of mask: the last part of its name, whether it may mark nothing, and the flags where it is not used.

    `unused` is for a mask that is broken, on another grid or empty where it must not be; `unread` for one that cannot
    be read now.
    """

    suffix: str
    may_be_empty: bool
    unused: ScanFlag
    unread: ScanFlag


REGION_MASK = MaskKind("mask", False, ScanFlag.MASK_UNUSED, ScanFlag.MASK_UNREAD)
"""The part of the body that is aligned and compared."""
LESION_MASK = MaskKind("lesions", True, ScanFlag.LESIONS_UNUSED, ScanFlag.LESIONS_UNREAD)
"""The lesions that somebody marked. A mask that marks nothing says that there are none."""
DIFFERENCE_MASK = MaskKind("difference", True, ScanFlag.DIFFERENCE_UNUSED, ScanFlag.DIFFERENCE_UNREAD)
"""Changes since an earlier visit that somebody marked. A mask that marks nothing says that nothing changed."""


def get_mask_path(scan: str, kind: MaskKind) -> str:
    """Return where a mask of a scan lies.

    Examples
    --------
    >>> get_mask_path("scans/sub-a/ses-01/sub-a_ses-01_T1w.nii.gz", REGION_MASK)
    'scans/sub-a/ses-01/sub-a_ses-01_T1w_mask.nii.gz'
    """
    ending = NIFTI_GZ_ENDING if scan.endswith(NIFTI_GZ_ENDING) else NIFTI_ENDING
    return f"{scan.removesuffix(ending)}_{kind.suffix}{ending}"


def write_mask(
    mask_file: Path,
    target: Path,
    scan: Volume,
    kind: MaskKind,
    max_gigabytes: float,
    frames_of_reference: Sequence[str] = (),
    hidden: NDArray[np.bool_] | None = None,
) -> str:
    """Write a mask beside its scan: 1 inside, 0 outside, int16, on the scan's grid.

    Both are reoriented to RAS+, so a mask may be stored with other axes; its corners have to coincide with the scan's
    within `nifti_header.MAX_AFFINE_CONFLICT_MM`.

    Parameters
    ----------
    mask_file
        NIfTI file; voxels above 0 are inside. Lesions may be a DICOM Segmentation, see `segmentation_masks`.
    target
        Path of the scan.
    scan, kind
        The scan in RAS+ orientation, and what the mask marks.
    max_gigabytes
        Largest volume, in 10^9 bytes.
    frames_of_reference
        UIDs of the frames of reference of the scan's DICOM images, if it has any.
    hidden
        Voxels (i, j, k) of the scan that the mask must not mark.

    Returns
    -------
    Empty, or a flag of `kind` where no mask was written.
    """
    try:
        marked = _decode_mask(mask_file, scan, kind, max_gigabytes, frames_of_reference)
    except RejectedError:
        return kind.unused
    except (OSError, MemoryError) as error:
        return kind.unread if machine_errors.find_machine_error_reason(error) else kind.unused
    marked = marked if hidden is None else marked & ~hidden
    if not (marked.any() or kind.may_be_empty):
        return kind.unused
    written = Volume(np.asfortranarray(marked.astype(np.int16)), scan.affine)
    volume.write_volume(Path(get_mask_path(str(target), kind)), written)
    return ""


def _decode_mask(
    mask_file: Path, scan: Volume, kind: MaskKind, max_gigabytes: float, frames_of_reference: Sequence[str]
) -> NDArray[np.bool_]:
    if kind is LESION_MASK and _is_dicom(mask_file):
        return _decode_segmentation(mask_file, scan, max_gigabytes, frames_of_reference)
    mask, _, _ = nifti.decode_nifti(mask_file, mask_file, "refuse", max_gigabytes, 1, kind.may_be_empty)
    if not _on_one_grid(mask, scan):
        raise RejectedError("affine_conflict")
    marked: NDArray[np.bool_] = mask.voxels > 0
    return marked


def _is_dicom(mask_file: Path) -> bool:
    with open_files.open_regular_file(mask_file) as file:
        return headers.looks_like_dicom(file.read(headers.PREAMBLE_BYTES + 8))


def _decode_segmentation(
    mask_file: Path, scan: Volume, max_gigabytes: float, frames_of_reference: Sequence[str]
) -> NDArray[np.bool_]:
    if mask_file.stat().st_size > max_gigabytes * 1e9:
        raise RejectedError("too_large")
    data = open_files.read_regular_file(mask_file)
    return segmentation_masks.decode_lesion_segmentation(data, scan, max_gigabytes, frames_of_reference)


def _on_one_grid(mask: Volume, scan: Volume) -> bool:
    shape = scan.voxels.shape
    return (
        mask.voxels.shape == shape
        and nifti_header.compute_corner_distance_mm(mask.affine, scan.affine, shape)
        <= nifti_header.MAX_AFFINE_CONFLICT_MM
    )
