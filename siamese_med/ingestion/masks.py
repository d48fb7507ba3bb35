"""The mask that a manifest names for a scan: checked like any file from outside, and kept beside the scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import machine_errors, nifti
from siamese_med.ingestion.reasons import RejectedError
from siamese_med.study.vocabulary import ScanFlag

NIFTI_GZ_ENDING = ".nii.gz"


def get_mask_path(scan: str) -> str:
    """Where the mask of a scan lies."""
    return f"{scan.removesuffix(NIFTI_GZ_ENDING)}_mask{NIFTI_GZ_ENDING}"


def write_mask(mask_file: Path, target: Path, scan: Volume, max_gigabytes: float) -> str:
    """Write a mask beside its scan `target`, 1 where it marks, if it is a sound NIfTI on the scan's grid.

    Else nothing is written; returns the flag that says so, or an empty word.

    Both are canonical, so a mask may be stored with other axes; its corners have to lie on the scan's to 0.1 mm.
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
        and nifti.compute_corner_distance_mm(mask.affine, scan.affine, shape) <= nifti.MAX_AFFINE_CONFLICT_MM
    )
