"""What a detector's map says of a planted pair, whatever the detector: ranks, hits and false components.

Readings are kept as JSON, one a pair and detector, because detectors are slow and figures are asked for again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from benchmarks import planted
from benchmarks.planted import CLEAR, SPACING_MM, Facts, Planted
from siamese_med.runtime import files
from siamese_med.scoring.change import change_map
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.scoring.change.pair_registration import ChangeDetector

if TYPE_CHECKING:
    from torch import Tensor

THRESHOLDS = np.geomspace(2.5, 25, 10)
"""Evidence at which parts of a map are counted."""
MIN_VOXELS = 3
"""Smaller parts of a map, and of the truth, are not counted."""
TOUCHING = np.ones((3, 3, 3))


@dataclass(frozen=True)
class Reading:
    """One detector on one pair.

    precision: average precision of the voxels, missing without change, as `peak_inside`: whether the strongest voxel
    lies in a changed one. found and false: at each of THRESHOLDS, how many of `lesions` a part of the map touches, and
    how many parts touch none.
    """

    facts: Facts
    finding: MapSummary
    precision: float | None
    peak_inside: bool | None
    lesions: int
    found: list[int]
    false: list[int]

    def as_json(self) -> dict[str, Any]:
        """To be kept."""
        return {**asdict(self), "finding": {**asdict(self.finding), "tail": self.finding.tail.tolist()}}


def from_json(stored: dict[str, Any]) -> Reading:
    """A reading that was kept."""
    finding = MapSummary(**{**stored["finding"], "tail": np.asarray(stored["finding"]["tail"])})
    return Reading(**{**stored, "facts": planted.facts_of(stored["facts"]), "finding": finding})


def of_set(
    folder: Path, name: str, detector: ChangeDetector, label: str, patients: int | None = None
) -> Iterator[Reading]:
    """Readings of the pairs of a set (of its first patients), from what is kept where it is there."""
    for path in sorted((folder / name).glob("*.npz")):
        if patients is not None and int(path.stem[1:4]) >= patients:
            return
        kept = folder / "readings" / label / name / f"{path.stem}.json"
        if not kept.is_file():
            pair = planted.read(path)
            reading = of_pair(pair, detector(pair.overlay, SPACING_MM))
            kept.parent.mkdir(parents=True, exist_ok=True)
            files.write_json_file(kept, reading.as_json())
        yield from_json(json.loads(kept.read_text()))


def of_pair(pair: Planted, evidence: Tensor) -> Reading:
    """What the map of a detector says."""
    strength = evidence.abs().numpy()
    counted, changed = pair.counted.numpy(), (pair.changed & pair.overlay.inside).numpy()
    lesions, count = parts(changed)
    found, false = hits(strength, lesions, (pair.truth.abs() >= CLEAR).numpy())
    peak = np.unravel_index(strength.argmax(), strength.shape)
    return Reading(
        facts=pair.facts,
        finding=change_map.summarise_map(evidence, pair.overlay),
        precision=average_precision(strength[counted], changed[counted]) if changed.any() else None,
        peak_inside=bool(pair.truth.abs()[peak] >= CLEAR) if changed.any() else None,
        lesions=count,
        found=found,
        false=false,
    )


def average_precision(strength: NDArray[np.float32], changed: NDArray[np.bool_]) -> float:
    """Mean of the precision over the changed voxels, strongest first; what ties is one step."""
    order = np.argsort(-strength)
    ranked = strength[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true = np.cumsum(changed[order])[ends]
    return float((np.diff(true, prepend=0) * true / (ends + 1)).sum() / true[-1])


def parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Connected parts of MIN_VOXELS at least, numbered from 1, and how many."""
    numbered, count = label(mask, TOUCHING)
    large = np.bincount(numbered[mask], minlength=count + 1) >= MIN_VOXELS
    numbers = np.where(large, np.cumsum(large), 0).astype(np.int32)
    numbered[mask] = numbers[numbered[mask]]
    return numbered, int(large.sum())


def hits(
    strength: NDArray[np.float32], lesions: NDArray[np.int32], near: NDArray[np.bool_]
) -> tuple[list[int], list[int]]:
    """At each of THRESHOLDS: lesions that a part of the map touches, and parts that touch nothing of `near`."""
    found, false = [], []
    for threshold in THRESHOLDS:
        mask = strength >= threshold
        numbered, count = parts(mask)
        numbers = numbered[mask]
        found.append(len(np.setdiff1d(lesions[mask][numbers > 0], [0])))
        false.append(count - len(np.setdiff1d(numbers[near[mask]], [0])))
    return found, false
