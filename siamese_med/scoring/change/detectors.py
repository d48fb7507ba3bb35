"""The detectors of change that a model may have: the plain residual always, the network where it has learned to."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from siamese_med.network import change_inference
from siamese_med.scoring.change import residual_detector
from siamese_med.scoring.change.pair_registration import ChangeDetector
from siamese_med.study.config import ScoreConfig
from siamese_med.study.model_info import ModelInfo

RESIDUAL_DETECTOR, NETWORK_DETECTOR = "residual", "network"


def build_residual_detector(config: ScoreConfig) -> ChangeDetector:
    """The detector that learns nothing."""
    return partial(residual_detector.detect_with_residual, smoothing_mm=config.smoothing_mm)


def build_candidate_detectors(learned: Path | None, config: ScoreConfig) -> dict[str, ChangeDetector]:
    """By name, what a model in the making may choose from; `learned` is its folder where the network has learned."""
    return {
        RESIDUAL_DETECTOR: build_residual_detector(config),
        **({NETWORK_DETECTOR: partial(change_inference.detect_with_network, learned)} if learned else {}),
    }


def build_model_detector(info: ModelInfo, folder: Path, config: ScoreConfig) -> ChangeDetector:
    """The one that gives a model's verdicts: see `change` in its description."""
    return (
        partial(change_inference.detect_with_network, folder)
        if info.change.detector == NETWORK_DETECTOR
        else build_residual_detector(config)
    )
