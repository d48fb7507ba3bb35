"""How often a model calls a pair changed that is not: by its own noise floor and its rules of what is comparable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.planted import NONE
from benchmarks.readings import Reading
from siamese_med.scoring.change import noise_floor
from siamese_med.scoring.change.noise_floor import NoiseFloor
from siamese_med.study.config import ScoreConfig
from siamese_med.study.model_info import ModelInfo
from siamese_med.study.thresholds import MAX_NOISE_RATIO


@dataclass(frozen=True)
class Alarms:
    """Pairs without change: how many were judged, how many of these were called changed, how many not comparable."""

    judged: int
    changed: int
    not_comparable: int

    @property
    def words(self) -> str:
        """Share with its exact 95 % interval (Clopper and Pearson, 1934); a patient gives one pair."""
        from scipy.stats import binomtest

        if not self.judged:
            return f"none judged, {self.not_comparable} not comparable"
        interval = binomtest(self.changed, self.judged).proportion_ci(method="exact")
        share = f"{self.changed / self.judged:.3f} ({interval.low:.3f}-{interval.high:.3f})"
        return f"{self.changed} of {self.judged}: {share}, {self.not_comparable} not comparable"


def of_model(info: ModelInfo, readings: Iterable[Reading], config: ScoreConfig) -> Alarms:
    """Verdicts of single looks on the pairs without change; `readings` are of the detector that the model chose."""
    known = noise_floor.from_record(info.change_reference)
    p = [_p(one, known, config) for one in readings if one.facts.family == NONE]
    judged = [value for value in p if value is not None]
    return Alarms(len(judged), sum(value < config.significance for value in judged), len(p) - len(judged))


def _p(reading: Reading, known: NoiseFloor, config: ScoreConfig) -> float | None:
    """None where the product would say that the pair is not comparable."""
    facts, finding = reading.facts, reading.finding
    reference = known.of(noise_floor.assign_stratum("MR", (facts.contrast, facts.contrast), facts.machines))
    if reference is None or facts.quality < config.min_pose_quality or facts.overlap < config.min_overlap:
        return None
    return None if finding.noise > MAX_NOISE_RATIO * reference.noise_max else reference.p(finding)
