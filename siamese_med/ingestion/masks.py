"""The mask that a manifest names for a scan: checked like any file from outside, and stored beside the scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import machine_errors, nifti, nifti_header
from siamese_med.ingestion.reasons import RejectedError
from siamese_med.study.vocabulary import ScanFlag

NIFTI_GZ_ENDING = ".nii.gz"
"""Ending of scans and their masks."""


def get_mask_path(scan: str) -> str:
    """Return where the mask of a scan lies.

    Examples
    --------
    >>> get_mask_path("scans/sub-a/ses-01/sub-a_ses-01_T1w.nii.gz")
    'scans/sub-a/ses-01/sub-a_ses-01_T1w_mask.nii.gz'
    """
    return f"{scan.removesuffix(NIFTI_GZ_ENDING)}_mask{NIFTI_GZ_ENDING}"


def write_mask(mask_file: Path, target: Path, scan: Volume, max_gigabytes: float) -> str:
    """Write a mask beside its scan: 1 inside, 0 outside, int16, on the scan's grid.

    Both are reoriented to RAS+, so a mask may be stored with other axes; its corners have to coincide with the scan's
    within `nifti_header.MAX_AFFINE_CONFLICT_MM`.

    Parameters
    ----------
    mask_file
        NIfTI file; voxels above 0 are inside.
    target
        Path of the scan.
    scan
        The scan in RAS+ orientation.
    max_gigabytes
        Largest volume, in 10^9 bytes.

    Returns
    -------
    str
        Empty, or a flag where no mask was written: `mask_unused` (broken, another grid, or nothing inside) or
        `mask_unread` (not readable now).
    """
    try:
        mask, _, _ = nifti.decode_nifti(mask_file, mask_file, "refuse", max_gigabytes, 1)
    except RejectedError:
        return ScanFlag.MASK_UNUSED
    except (OSError, MemoryError) as error:
        return ScanFlag.MASK_UNREAD if machine_errors.find_machine_error_reason(error) else ScanFlag.MASK_UNUSED
    marked = mask.voxels > 0
    if not _on_one_grid(mask, scan) or not marked.any():
        return ScanFlag.MASK_UNUSED
    volume.write_volume(
        Path(get_mask_path(str(target))), Volume(np.asfortranarray(marked.astype(np.int16)), scan.affine)
    )
    return ""


def _on_one_grid(mask: Volume, scan: Volume) -> bool:
    shape = scan.voxels.shape
    return (
        mask.voxels.shape == shape
        and nifti_header.compute_corner_distance_mm(mask.affine, scan.affine, shape)
        <= nifti_header.MAX_AFFINE_CONFLICT_MM
    )
