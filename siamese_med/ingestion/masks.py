"""The mask that a manifest names for a scan: checked like any file from outside, and kept beside the scan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med import volume
from siamese_med.ingestion import nifti, passing
from siamese_med.ingestion.reasons import RejectedError
from siamese_med.volume import Volume

if TYPE_CHECKING:
    from siamese_med.ingestion.conversion import Job

ENDING = ".nii.gz"


def beside(scan: str) -> str:
    """Where the mask of a scan lies."""
    return f"{scan.removesuffix(ENDING)}_mask{ENDING}"


def write(job: Job, scan: Volume) -> str:
    """Write the job's mask beside its scan, 1 where it marks, if it is a sound NIfTI on the scan's grid.

    Else nothing is written; returns the flag that says so, or an empty word.

    Both are canonical, so a mask may be stored with other axes; its corners have to lie on the scan's to 0.1 mm.
    """
    path = Path(job.mask)
    try:
        mask, _, _ = nifti.decode(path, path, "refuse", job.max_gigabytes, 1)
    except RejectedError:
        return "mask_unused"
    except (OSError, MemoryError) as error:
        return "mask_unread" if passing.word_of(error) else "mask_unused"
    marked = mask.voxels > 0
    if not _on_one_grid(mask, scan) or not marked.any():
        return "mask_unused"
    volume.write(Path(beside(job.target)), Volume(np.asfortranarray(marked.astype(np.int16)), scan.affine))
    return ""


def _on_one_grid(mask: Volume, scan: Volume) -> bool:
    shape = scan.voxels.shape
    return mask.voxels.shape == shape and nifti.apart_mm(mask.affine, scan.affine, shape) <= nifti.MOST_CONFLICT_MM
