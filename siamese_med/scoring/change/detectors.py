"""The change detectors that a model can have: three built-in ones, and plug-ins.

=============  =================================================================  ====================================
Name           Function                                                           Needs
=============  =================================================================  ====================================
`residual`     `residual_detector.detect_with_residual`                           no training
`pretrained`   `pretrained_detector.PretrainedDetector`                           no training: it ships with its weights
`network`      `siamese_med.network.change_inference.detect_with_network`         a network with a trained change head
a plug-in      `package.module:object` or the name of an entry point              the package that holds it
=============  =================================================================  ====================================

`pair_registration.ChangeDetector` describes how a detector is called. `score.detector` chooses the one that gives the
verdicts of a new model. `auto` takes the one that sees planted changes in validation patients best; `pretrained` is
tried on a grid of MAX_PRETRAINED_MM at most. A detector that is named is used in any case, and these are measured
beside it.
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
from siamese_med.study.plugin_names import AUTO, BUILT_IN, PluginKind, PluginRecord

RESIDUAL_DETECTOR, PRETRAINED_DETECTOR, NETWORK_DETECTOR = "residual", "pretrained", "network"


MAX_PRETRAINED_MM = 2.0
"""On a coarser grid `auto` does not try `pretrained`, which was trained at 1.5 mm. Unit: mm. Source: our choice."""


@dataclass(frozen=True)
class PluginDetector:
    """A detector from another package. It is imported in the process that calls it, and its results are checked.

    Attributes
    ----------
    plugin
        Its name and arguments.
    smoothing_mm
        Passed to the plug-in: standard deviation of the smoothing in mm.
    """

    plugin: Plugin
    smoothing_mm: float

    def __call__(self, pair: RegisteredPair, spacing_mm: float) -> Tensor:
        """Return the signed evidence of change (i, j, k), float32, on the CPU, 0 outside the body.

        Raises
        ------
        PluginError
            The detector fails, or does not return one finite number per voxel.
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
    """Build the plain detector, with `config.smoothing_mm` bound."""
    return _build_untrained(RESIDUAL_DETECTOR, config)


def build_pretrained_detector(config: ScoreConfig) -> ChangeDetector:
    """Build the detector that ships with its weights; `config.smoothing_mm` is for what is no brain."""
    return _build_untrained(PRETRAINED_DETECTOR, config)


def _build_untrained(name: str, config: ScoreConfig) -> ChangeDetector:
    found = find_plugin(PluginKind.DETECTOR, name)
    return bind_plugin(found, ("pair", "spacing_mm"), smoothing_mm=config.smoothing_mm)


def learned_detector(folder: Path) -> ChangeDetector:
    """Bind the network detector to a model folder, whose weights are read at the first call in each process."""
    return bind_plugin(find_plugin(PluginKind.DETECTOR, NETWORK_DETECTOR), ("pair", "spacing_mm"), folder=folder)


def build_candidate_detectors(learned: Path | None, config: ScoreConfig) -> dict[str, ChangeDetector]:
    """Build the detectors that a new model can choose from, by name.

    Parameters
    ----------
    learned
        The folder of the new model if its change head was trained, else None.
    config
        Its `detector` may name a plug-in, which is added.

    Raises
    ------
    NotEnoughDataError
        `score.detector` is `network`, but the change head was not trained.
    PluginError
        The plug-in cannot be found.
    """
    plugin = named_detector(config)
    found = {RESIDUAL_DETECTOR: build_residual_detector(config)}
    fine = plugin is None and config.spacing_mm <= MAX_PRETRAINED_MM
    if fine or (plugin is not None and plugin.name == PRETRAINED_DETECTOR):
        found[PRETRAINED_DETECTOR] = build_pretrained_detector(config)
    if learned:
        found[NETWORK_DETECTOR] = learned_detector(learned)
    if plugin is not None and plugin.name not in BUILT_IN[PluginKind.DETECTOR]:
        found[plugin.name] = PluginDetector(plugin, config.smoothing_mm)
    if config.detector == NETWORK_DETECTOR and not learned:
        raise NotEnoughDataError(
            'score.detector is "network", and the network was not taught to see change: raise train.change_steps, or '
            'set score.detector = "auto"'
        )
    return found


def named_detector(config: ScoreConfig) -> Plugin | None:
    """Find the detector that `score.detector` names; None for `auto`, where validation patients decide."""
    return None if config.detector == AUTO else find_plugin(PluginKind.DETECTOR, config.detector, config.detector_args)


def build_model_detector(info: ModelInfo, folder: Path, config: ScoreConfig) -> ChangeDetector:
    """Build the detector that gives the verdicts of a finished model.

    Parameters
    ----------
    info
        Its description; `change.detector` is the name, and `plugins` records the plug-in.
    folder
        The model folder, which holds the weights of the network detector.
    config
        The `score` section with the smoothing that the model was made with.
    """
    if info.change.detector == NETWORK_DETECTOR:
        return learned_detector(folder)
    if info.change.detector in (RESIDUAL_DETECTOR, PRETRAINED_DETECTOR):
        return _build_untrained(info.change.detector, config)
    record = detector_record(info)
    arguments = {} if record is None else record.arguments
    return PluginDetector(find_plugin(PluginKind.DETECTOR, info.change.detector, arguments), config.smoothing_mm)


def detector_record(info: ModelInfo) -> PluginRecord | None:
    """Return the record of the plug-in that gives a model's verdicts; None for a built-in detector."""
    detectors = (one for one in info.plugins if one.kind is PluginKind.DETECTOR)
    return next((one for one in detectors if one.name == info.change.detector), None)
