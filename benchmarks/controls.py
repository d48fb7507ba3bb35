"""Detectors that the learned one has to beat: registered residual, brightness alone, boosting on hand-made features.

Each is a callable (overlay, spacing in mm) -> evidence (i, j, k), float32, zero outside `inside`: as the project's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.planted import Planted
from siamese_med.imaging.resampling import smooth_images
from siamese_med.runtime import files
from siamese_med.scoring.change.pair_registration import RegisteredPair

Lesson = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]

RESIDUAL_SMOOTHINGS = (0.7, 1.2)
"""In voxels."""
SURROUNDINGS_MM = 6.0
"""Standard deviation of the smoothing that gives the brightness around a voxel."""
CANDIDATE = 1.5
"""Noise units of the lightly smoothed residual below which boosting is not asked: nothing there can be a change."""
UNCHANGED_EACH, CHANGED_EACH = 6000, 2000
"""Voxels of a pair that boosting learns from, at most."""


@dataclass(frozen=True)
class PlainResidual:
    """Later - earlier after matching, smoothed, in units of the pair's own noise."""

    smoothing: float

    def __call__(self, pair: RegisteredPair, _spacing_mm: float) -> Tensor:
        """Signed evidence."""
        return _in_noise(_smoothed(pair.b - pair.a, pair.inside, self.smoothing), pair.inside)


def brightness(pair: RegisteredPair, spacing_mm: float) -> Tensor:
    """How much the brighter of the two scans exceeds its surroundings: finds lesions, whether they changed or not."""
    found = torch.maximum(*(_above_surroundings(scan, pair.inside, spacing_mm) for scan in (pair.a, pair.b)))
    return _in_noise(found, pair.inside).clamp(min=0)


@dataclass(frozen=True)
class Boosting:
    """Gradient boosting on the features of `Voxels`, asked twice: is the later brighter, and is the earlier?"""

    classifier: Any
    prior: float

    def __call__(self, pair: RegisteredPair, spacing_mm: float) -> Tensor:
        """Signed evidence: by how much the log odds of a change exceed those of any voxel, where they do."""
        evidence, voxels = torch.zeros_like(pair.a), Voxels(pair, spacing_mm)
        for sign in (1, -1):
            described, where = voxels.features(sign)
            if where.any():
                chance = self.classifier.predict_proba(described)[:, 1].clip(1e-7, 1 - 1e-7)
                gained = np.log(chance / (1 - chance)) - np.log(self.prior / (1 - self.prior))
                evidence[where] = sign * torch.from_numpy(gained.clip(min=0).astype(np.float32))
        return evidence


class Voxels:
    """What boosting is told of each voxel of a pair; smoothed once for both directions."""

    def __init__(self, pair: RegisteredPair, spacing_mm: float) -> None:
        self.inside = inside = pair.inside
        self.scans = pair.a, pair.b
        difference = pair.b - pair.a
        self.differences = [difference, *(_smoothed(difference, inside, sigma) for sigma in (0.7, 1.2, 2.5))]
        mean = _smoothed((pair.a + pair.b) / 2, inside, 0.7)
        spread = _smoothed(difference.square(), inside, 3.0) - _smoothed(difference, inside, 3.0).square()
        self.common = [_slope(mean), mean, _smoothed(mean, inside, 3.0), spread.clamp(min=0).sqrt()]
        self.relative = [_above_surroundings(scan, inside, spacing_mm) for scan in self.scans]
        self.noise = max(_noise(self.differences[1], inside), 1e-6)

    def features(self, sign: int) -> tuple[NDArray[np.float32], Tensor]:
        """Fourteen features (n, 14) of the n voxels where a scan is brighter by CANDIDATE, and which these are.

        `sign` +1: where the later scan is brighter; -1: the same with the scans exchanged.
        """
        light = sign * self.differences[1]
        where = self.inside & (light > CANDIDATE * self.noise)
        columns = [*self.scans[::sign], *self.relative[::sign], *self.common]
        described = [column[where] for column in columns] + [sign * column[where] for column in self.differences]
        strength = light[where] / self.noise
        return torch.stack([*described, strength, torch.full_like(strength, self.noise)], 1).numpy(), where


def learn(pairs: Iterable[Planted], spacing_mm: float, seed: int = 0) -> Boosting:
    """Boosting from pairs whose change is known; each is read in both directions."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(seed)
    parts = [lesson for pair in pairs for lesson in _lessons(pair, spacing_mm, rng)]
    described, changed, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    classifier = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.08, random_state=seed)
    classifier.fit(described, changed, sample_weight=weight)
    return Boosting(classifier, float(np.average(changed, weights=weight)))


def _lessons(pair: Planted, spacing_mm: float, rng: np.random.Generator) -> Iterator[Lesson]:
    """In both directions: features, whether the brighter scan truly is, and how many voxels each stands for."""
    voxels = Voxels(pair.overlay, spacing_mm)
    for sign in (1, -1):
        described, where = voxels.features(sign)
        counted = pair.counted[where].numpy()
        brighter = (pair.changed & (sign * pair.truth > 0))[where].numpy()
        chosen, weight = [], []
        for kind, most in ((True, CHANGED_EACH), (False, UNCHANGED_EACH)):
            there = np.flatnonzero(counted & (brighter == kind))
            chosen.append(rng.permutation(there)[:most])
            weight.append(np.full(len(chosen[-1]), max(1.0, len(there) / most)))
        rows = np.concatenate(chosen)
        yield described[rows], brighter[rows], np.concatenate(weight)


def kept(path: Path, pairs: Callable[[], Iterable[Planted]], spacing_mm: float) -> Boosting:
    """The boosting of a file of ours, learned and written where there is none."""
    import joblib

    if not path.is_file():
        learned = learn(pairs(), spacing_mm)
        with files.replace_atomically(path) as temporary:
            joblib.dump(learned, temporary)
    found: Boosting = joblib.load(path)
    return found


def _smoothed(image: Tensor, inside: Tensor, sigma: float) -> Tensor:
    """Smoothing that knows nothing beyond `inside`; sigma in voxels."""
    weight = inside.float()[None, None]
    total = smooth_images(image[None, None] * weight, sigma) / smooth_images(weight, sigma).clamp(min=0.05)
    return total[0, 0] * inside


def _noise(image: Tensor, inside: Tensor) -> float:
    """Robust standard deviation inside."""
    values = image[inside]
    values = values[:: max(1, values.numel() // 200_000)]
    return 1.4826 * float((values - values.median()).abs().median()) if values.numel() else 0.0


def _in_noise(image: Tensor, inside: Tensor) -> Tensor:
    return image / max(_noise(image, inside), 1e-4) * inside


def _above_surroundings(scan: Tensor, inside: Tensor, spacing_mm: float) -> Tensor:
    fine = _smoothed(scan, inside, 0.7)
    return (fine - _smoothed(scan, inside, SURROUNDINGS_MM / spacing_mm)) * inside


def _slope(image: Tensor) -> Tensor:
    return torch.stack([part.square() for part in torch.gradient(image)]).sum(0).sqrt()
