"""Pairs of scans that a training loop sees: of one patient and of two, patients split and never scans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from torch.utils.data import Sampler

from siamese_med.errors import NotEnoughDataError, UsageError
from siamese_med.study.vocabulary import SPLITS


class SplitScans(Protocol):
    """Scans of which the patient is known, and of every patient the split, such as a `LongitudinalDataset`."""

    @property
    def subjects(self) -> Sequence[str]: ...

    @property
    def splits(self) -> Mapping[str, str]: ...


class PairSampler(Sampler[tuple[int, int]]):
    """Draw pairs of scans by their numbers, so many of one patient and the rest of two.

    Every patient is drawn as often as any other, however many scans there are. In a pair of one patient, the scan with
    the smaller number comes first: the earlier one, in datasets from a study or a BIDS tree. Every pass draws anew;
    what it draws depends on the seed and on its number alone.

    Parameters
    ----------
    dataset
        Whose scans are paired.
    split
        Only patients of this split: `train`, `validation` or `test`; None for all.
    pairs
        Pairs of a pass; None for as many as the split has scans.
    same_share
        Share of the pairs that are of one patient.
    seed
        Seed of all draws.

    Raises
    ------
    UsageError
        There is no such split.
    NotEnoughDataError
        The split has fewer than two patients, or none with two scans.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> scans = SimpleNamespace(subjects=["sub-1", "sub-1", "sub-2"], splits={"sub-1": "train", "sub-2": "train"})
    >>> sorted(PairSampler(scans, "train", pairs=4, same_share=0.25))[0]
    (0, 1)
    """

    def __init__(
        self,
        dataset: SplitScans,
        split: str | None = None,
        pairs: int | None = None,
        same_share: float = 0.5,
        seed: int = 0,
    ) -> None:
        if split is not None and split not in SPLITS:
            raise UsageError(f"there is no split '{split}': give one of {', '.join(SPLITS)}, or None for all")
        if not 0 <= same_share <= 1:
            raise UsageError(f"same_share is {same_share}: give a share from 0 to 1")
        scans: dict[str, list[int]] = defaultdict(list)
        for number, subject in enumerate(dataset.subjects):
            if split is None or dataset.splits[subject] == split:
                scans[subject].append(number)
        self._scans = list(scans.values())
        self._repeated = [mine for mine in self._scans if len(mine) > 1]
        if len(self._scans) < 2 or not self._repeated:
            where = "the dataset" if split is None else f"the {split} split"
            raise NotEnoughDataError(
                f"{where} has {len(self._scans)} patients, {len(self._repeated)} with two scans: pairs need two "
                "patients, one of them with two scans"
            )
        self.pairs = sum(map(len, self._scans)) if pairs is None else pairs
        self.same = round(same_share * self.pairs)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Say which pass comes next, as samplers of `torch.utils.data.distributed` have it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.pairs

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        for place in rng.permutation(self.pairs):
            yield self._draw_same(rng) if place < self.same else self._draw_different(rng)

    def _draw_same(self, rng: np.random.Generator) -> tuple[int, int]:
        mine = self._repeated[rng.integers(len(self._repeated))]
        first, second = sorted(rng.choice(len(mine), 2, replace=False))
        return mine[first], mine[second]

    def _draw_different(self, rng: np.random.Generator) -> tuple[int, int]:
        one, other = (self._scans[patient] for patient in rng.choice(len(self._scans), 2, replace=False))
        return one[rng.integers(len(one))], other[rng.integers(len(other))]
