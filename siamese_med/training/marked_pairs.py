"""Pairs of which somebody marked what changed: which of a study the change head may learn from, and their marks.

A mask lies on the grid of the later scan and marks every change since one earlier visit, whether something came, grew,
shrank or went. It says where, not whether a voxel became brighter or darker: that is read from the two scans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from siamese_med.imaging import resampling
from siamese_med.imaging.volume import Volume, read_volume
from siamese_med.runtime import files
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.scoring.change.pair_registration import RegisteredPair, register_pair
from siamese_med.scoring.change.scan_side import ScanReader
from siamese_med.study.prepared_scans import PreparedScan
from siamese_med.study.vocabulary import Split
from siamese_med.training import synthetic_follow_ups
from siamese_med.training.synthetic_follow_ups import UNMARKED_MAX_SHARE, ChangeSource

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from siamese_med.study.config import ScoreConfig


@dataclass(frozen=True)
class MarkedPair:
    """Two scans of one patient by their ids, and the mask of what changed, on the grid of the later one.

    The path of the mask is relative to the data folder.
    """

    earlier: str
    later: str
    mask: str


@dataclass(frozen=True)
class MarkedPairJob:
    """A marked pair to register, and the .npy file for the result."""

    reader: ScanReader
    earlier: PreparedScan
    later: PreparedScan
    mask: str
    config: ScoreConfig
    path: Path


def find_marked_pairs(usable: pd.DataFrame, pairs: pd.DataFrame) -> list[MarkedPair]:
    """Find the marked pairs that may be learned from: those of training patients, between scans of one contrast.

    Parameters
    ----------
    usable
        Aligned scans with their split, see `training_scans.select_usable_scans`.
    pairs
        The pair table.
    """
    marked = usable[usable.difference.notna()]
    if marked.empty:
        return []
    learning = usable[usable.split == Split.TRAIN].set_index("id")
    pairs = pairs[pairs.scan_a.isin(learning.index) & (pairs.subject_a == pairs.subject_b)]
    found = []
    for scan in marked[marked.split == Split.TRAIN].itertuples():
        for earlier in pairs[pairs.scan_b == scan.id].scan_a:
            other = learning.loc[earlier]
            if other.session == scan.since and other.contrast == scan.contrast:
                found.append(MarkedPair(earlier, scan.id, scan.difference))
    return found


def describe_marked_pairs(marked: Sequence[MarkedPair], data: Path) -> list[str]:
    """Return a text a pair that changes with its scans and with the content of its mask."""
    return [f"{pair.earlier} {pair.later} {files.compute_file_digest(data / pair.mask)}" for pair in marked]


def build_marked_sources(
    marked: Sequence[MarkedPair],
    rows: dict[str, PreparedScan],
    reader: ScanReader,
    config: ScoreConfig,
    folder: Path,
) -> list[ChangeSource]:
    """Register marked pairs as any pair is, and keep them below `folder`.

    Parameters
    ----------
    rows
        The scans of the pairs with their alignment, by id.
    config
        Voxel edge of the grid; and how distinct the pose of a pair and how large its overlap must be. A pair that lies
        worse is left out, since its marks would not fit.

    Returns
    -------
    list of ChangeSource
        A file that exists already is used as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        MarkedPairJob(reader, rows[pair.earlier], rows[pair.later], pair.mask, config, folder / f"marked-{n:04d}.npy")
        for n, pair in enumerate(marked)
    ]
    return [found for found in run_in_parallel(_write_marked_source, jobs, "laying out marked pairs") if found]


def _write_marked_source(job: MarkedPairJob) -> ChangeSource | None:
    spacing_mm = job.config.spacing_mm
    if job.path.is_file():
        return synthetic_follow_ups.read_change_source(job.path, spacing_mm)
    earlier, later = job.reader.read_side(job.earlier), job.reader.read_side(job.later)
    laid = register_pair(earlier.scan, later.scan, (earlier.region, later.region), spacing_mm)
    if laid.quality < job.config.min_pose_quality or laid.overlap < job.config.min_overlap:
        return None
    marks = lay_marks(read_volume(job.reader.data / job.mask), laid)
    return synthetic_follow_ups.write_change_source(job.path, laid.a, laid.b, laid.inside, spacing_mm, marks)


def lay_marks(mask: Volume, laid: RegisteredPair) -> Tensor:
    """Bring the marks of a pair to its grid, and tell by the scans what became brighter and what darker.

    Parameters
    ----------
    mask
        What changed (i, j, k), 0 or 1, in the mm of the later scan.
    laid
        The pair.

    Returns
    -------
    Tensor
        Share of each voxel (i, j, k) of the pair's grid that is marked, with the sign of the later scan's mean
        difference over the connected part.
    """
    from scipy import ndimage

    share = resampling.resample_volume(mask, laid.matrix_later @ laid.space.affine, laid.a.shape)[0, 0]
    parts, count = ndimage.label((share > UNMARKED_MAX_SHARE).numpy(), np.ones((3, 3, 3)))
    brighter = ndimage.sum_labels((share * (laid.b - laid.a)).numpy(), parts, np.arange(count + 1)) >= 0
    signs = np.where(brighter, 1.0, -1.0).astype(np.float32)
    return share * torch.from_numpy(signs[parts])
