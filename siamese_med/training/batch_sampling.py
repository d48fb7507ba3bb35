"""Which scans meet in a batch: a few patients with a few scans each, or explicit pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


@dataclass(frozen=True)
class ScanBatch:
    """Positions of the scans in the cohort, and explicit pairs as positions in the batch (a1, p, a2, n), if any."""

    scans: Index
    pairs: tuple[Index, Index, Index, Index] | None = None


def sample_by_patient(
    labels: Sequence[int], patients: int, scans_each: int, steps: int, rng: np.random.Generator
) -> Iterator[ScanBatch]:
    """Batches of `patients` x `scans_each`: every patient weighs the same, whether he has two scans or forty.

    At least half of them have two scans or more; patients with a single scan serve as somebody else's negatives.
    """
    members = _scans_by_patient(labels)
    repeated = [name for name, scans in members.items() if len(scans) > 1]
    for _ in range(steps):
        anchors = list(rng.permutation(repeated)[: -(-patients // 2)])
        others = [name for name in rng.permutation(list(members)) if name not in anchors]
        chosen = anchors + others[: patients - len(anchors)]
        yield ScanBatch(np.concatenate([rng.permutation(members[name])[:scans_each] for name in chosen]))


def sample_by_pairs(
    same: Sequence[tuple[int, int]],
    different: Sequence[tuple[int, int]],
    size: int,
    steps: int,
    rng: np.random.Generator,
) -> Iterator[ScanBatch]:
    """Batches of explicit pairs, half of them of one patient, `size` scans at most; each scan is embedded once."""
    half = max(1, size // 4)
    for _ in range(steps):
        positives = np.asarray(same)[rng.integers(len(same), size=half)]
        negatives = np.asarray(different)[rng.integers(len(different), size=half)]
        scans, places = np.unique(np.concatenate([positives, negatives]), return_inverse=True)
        places = places.reshape(-1, 2)
        yield ScanBatch(scans, (places[:half, 0], places[:half, 1], places[half:, 0], places[half:, 1]))


def _scans_by_patient(labels: Sequence[int]) -> dict[int, Index]:
    array = np.asarray(labels)
    return {int(label): np.flatnonzero(array == label) for label in np.unique(array)}
