"""The detectors of change that a model may have: the plain residual always, the network where it has learned to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from siamese_med.config import ScoreConfig
from siamese_med.network import detection
from siamese_med.scoring import residual
from siamese_med.scoring.overlay import Detector

RESIDUAL, NETWORK = "residual", "network"


def plain(config: ScoreConfig) -> Detector:
    """The detector that learns nothing."""
    return partial(residual.evidence, smoothing_mm=config.smoothing_mm)


def rivals(learned: Path | None, config: ScoreConfig) -> dict[str, Detector]:
    """By name, what a model in the making may choose from; `learned` is its folder where the network has learned."""
    return {RESIDUAL: plain(config), **({NETWORK: partial(detection.evidence, learned)} if learned else {})}


def of_model(about: Mapping[str, Any], folder: Path, config: ScoreConfig) -> Detector:
    """The one that gives a model's verdicts: see `change` in its description."""
    return partial(detection.evidence, folder) if about["change"]["detector"] == NETWORK else plain(config)
