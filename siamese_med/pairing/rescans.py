"""Whether two scans of one patient are two measurements of the same place, which is what a rescan has to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from siamese_med.study.contrasts import ENHANCED_CONTRASTS
from siamese_med.study.vocabulary import ScanFlag, ScanSource

ONCE_A_VISIT = ("CT", "PT")
"""Modalities in which nobody is measured twice in one visit without need: dose is kept low, and tracers move on.

Several such series of one visit are reconstructions of one acquisition, thin and thick, whose times differ by where
their first slice lies; or phases. Source: our choice."""

MIN_SHARED_PLACE = 0.5
"""Share of the smaller scan that another one has to show too. Source: our choice."""

POINTS_ALONG_AXIS = 6
"""Places along each axis of a scan that are looked up in the other one."""


def flags_of(scan: Any) -> Sequence[str]:
    """Return the flags of a row of the scan table; a table without that column has none."""
    return getattr(scan, "flags", ())


def shows_agent(scan: Any) -> bool:
    """Tell whether a contrast agent was given before the scan."""
    return scan.contrast in ENHANCED_CONTRASTS or ScanFlag.AGENT_GIVEN in flags_of(scan)


def is_one_acquisition(one: Any, other: Any) -> bool:
    """Tell whether both scans were made of one acquisition: the noise of both is the same."""
    content = getattr(one, "sha256", None)
    copied = isinstance(content, str) and content == getattr(other, "sha256", None)
    return copied or (isinstance(one.acquired, str) and one.acquired == other.acquired)


def repeat_within_day(one: Any, other: Any) -> bool:
    """Tell whether two scans of one day are acquisitions of one place, at known times, without an agent that fades."""
    doubtful = one.session != other.session and ScanFlag.SHARED_DAY in flags_of(one)
    if doubtful or any(shows_agent(scan) or ScanFlag.REFORMATTED in flags_of(scan) for scan in (one, other)):
        return False
    if one.session == other.session and one.modality in ONCE_A_VISIT:
        return False
    timed = isinstance(one.acquired, str) and isinstance(other.acquired, str) and one.acquired != other.acquired
    return timed and show_one_place(one, other)


def repeat_protocol(one: Any, other: Any) -> bool:
    """Tell whether two scans were taken by one protocol, as far as both tell it; a PET without its tracer does not."""
    return bool(one.protocol == other.protocol and one.contrast != "PET")


def show_one_place(one: Any, other: Any) -> bool:
    """Tell whether one scan shows at least MIN_SHARED_PLACE of the other; or nothing says where they lie.

    It is for scans of one day. Stations of a spine, or both knees, are scanned alike one after the other; coordinates
    have one origin within a visit, or nearly so.
    """
    first, second = _read_place(one), _read_place(other)
    if first is None or second is None:
        return True
    return max(_share_inside(first, second), _share_inside(second, first)) >= MIN_SHARED_PLACE


def show_two_places(one: Any, other: Any) -> bool:
    """Tell whether two DICOM scans of one visit lie side by side, so that they cannot be compared.

    Files of other kinds may have lost their coordinates.
    """
    one_visit = (one.session, one.date) == (other.session, other.date)
    measured = all(getattr(scan, "source", None) == ScanSource.DICOM for scan in (one, other))
    return one_visit and measured and not show_one_place(one, other)


def _read_place(scan: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return affine and shape, as far as the table has both and the affine can be inverted."""
    affine, shape = getattr(scan, "affine", None), getattr(scan, "shape", None)
    if affine is None or shape is None:
        return None
    found = np.asarray([list(row) for row in affine], dtype=float), np.asarray(shape, dtype=float)[:3]
    sound = found[0].shape == (4, 4) and np.isfinite(found[0]).all() and abs(np.linalg.det(found[0][:3, :3])) > 1e-9
    return found if sound else None


def _share_inside(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """Share of evenly spread places of one scan that lie in the other one."""
    (affine, shape), (other_affine, other_shape) = one, other
    steps = (np.arange(POINTS_ALONG_AXIS) + 0.5) / POINTS_ALONG_AXIS
    voxels = np.stack(np.meshgrid(*(steps * size - 0.5 for size in shape), indexing="ij"), -1).reshape(-1, 3)
    there = np.linalg.solve(other_affine, affine @ np.c_[voxels, np.ones(len(voxels))].T)[:3].T
    return float(((there >= -0.5) & (there <= other_shape - 0.5)).all(axis=1).mean())
