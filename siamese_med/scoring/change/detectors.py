"""The detectors of change that a model may have: two built in, and those of others by name.

A detector is called with a pair and its spacing, see `scoring.overlay.Detector`. `score.detector` names the one that
gives a new model's verdicts: `auto` takes the better of the built-in ones on validation patients, and one that is
named is used as it is, while the built-in ones are measured beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from siamese_med.errors import NotEnoughDataError, PluginError
from siamese_med.plugins import Plugin, bind_plugin, find_plugin, plugin_failure
from siamese_med.scoring.change.pair_registration import ChangeDetector, RegisteredPair
from siamese_med.study.config import ScoreConfig
from siamese_med.study.model_info import ModelInfo
from siamese_med.study.plugin_names import AUTO, PluginKind, PluginRecord

RESIDUAL_DETECTOR, NETWORK_DETECTOR = "residual", "network"


@dataclass(frozen=True)
class PluginDetector:
    """A detector of somebody else, imported where it is called, and held to the shape and the body of its pair."""

    plugin: Plugin
    smoothing_mm: float

    def __call__(self, pair: RegisteredPair, spacing_mm: float) -> Tensor:
        """Signed evidence of change (i, j, k), float32, 0 outside the body.

        Raises
        ------
        PluginError
            Where the detector fails, or gives something else than one finite number for each voxel.
        """
        detect = _imported(self.plugin, self.smoothing_mm)
        try:
            found = detect(pair, spacing_mm)
        except Exception as error:
            raise plugin_failure(self.plugin, error) from error
        if not isinstance(found, Tensor) or found.shape != pair.a.shape:
            shape = tuple(getattr(found, "shape", ())) or type(found).__name__
            raise PluginError(f"{self.plugin} gives {shape}: it must be a tensor of {tuple(pair.a.shape)}")
        if not bool(found.isfinite().all()):
            raise PluginError(f"{self.plugin} gives NaN or infinite evidence: it must be finite everywhere")
        return found.detach().to("cpu", torch.float32) * pair.inside


@lru_cache(maxsize=8)
def _imported(plugin: Plugin, smoothing_mm: float) -> ChangeDetector:
    return bind_plugin(plugin, ("pair", "spacing_mm"), smoothing_mm=smoothing_mm)


def build_residual_detector(config: ScoreConfig) -> ChangeDetector:
    """The detector that learns nothing."""
    return bind_plugin(
        find_plugin(PluginKind.DETECTOR, RESIDUAL_DETECTOR), ("pair", "spacing_mm"), smoothing_mm=config.smoothing_mm
    )


def learned_detector(folder: Path) -> ChangeDetector:
    """What the network of a model folder has learned."""
    return bind_plugin(find_plugin(PluginKind.DETECTOR, NETWORK_DETECTOR), ("pair", "spacing_mm"), folder=folder)


def build_candidate_detectors(learned: Path | None, config: ScoreConfig) -> dict[str, ChangeDetector]:
    """By name, what a model in the making may choose from; `learned` is its folder where the network has learned.

    Raises
    ------
    NotEnoughDataError
        Where `score.detector` is the network, which has not learned to see change.
    """
    found = {
        RESIDUAL_DETECTOR: build_residual_detector(config),
        **({NETWORK_DETECTOR: learned_detector(learned)} if learned else {}),
    }
    plugin = named_detector(config)
    if plugin is not None and not plugin.built_in:
        found[plugin.name] = PluginDetector(plugin, config.smoothing_mm)
    if config.detector == NETWORK_DETECTOR and not learned:
        raise NotEnoughDataError(
            'score.detector is "network", and the network was not taught to see change: raise train.change_steps, or '
            'set score.detector = "auto"'
        )
    return found


def named_detector(config: ScoreConfig) -> Plugin | None:
    """The detector that the configuration wants; None where the validation patients are to decide."""
    return None if config.detector == AUTO else find_plugin(PluginKind.DETECTOR, config.detector, config.detector_args)


def build_model_detector(info: ModelInfo, folder: Path, config: ScoreConfig) -> ChangeDetector:
    """The one that gives a model's verdicts: see `change` and `plugins` in its description."""
    if info.change.detector == NETWORK_DETECTOR:
        return learned_detector(folder)
    record = detector_record(info)
    if record is None:
        return build_residual_detector(config)
    plugin = find_plugin(PluginKind.DETECTOR, record.name, record.arguments)
    return PluginDetector(plugin, config.smoothing_mm)


def detector_record(info: ModelInfo) -> PluginRecord | None:
    """What a model says of the detector of its verdicts, where that is a plug-in."""
    detectors = (one for one in info.plugins if one.kind is PluginKind.DETECTOR)
    return next((one for one in detectors if one.name == info.change.detector), None)
