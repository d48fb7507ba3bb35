"""A user's own augmentation of the training scans, one scan at a time, after the built-in augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from siamese_med.errors import PluginError
from siamese_med.plugins import Plugin, bind_plugin, find_plugin, import_plugin, plugin_failure
from siamese_med.study.config import TrainConfig
from siamese_med.study.plugin_names import PluginKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_SEED = 2**32
"""Seeds are below this, since MONAI's transforms take no larger ones."""


class ScanTransform(Protocol):
    """Changes one scan (1, i, j, k) at random, by a generator; the shape stays as it is."""

    def __call__(self, scan: Tensor, generator: torch.Generator) -> Tensor: ...


class PluginTransform:
    """The transform of `train.transform`; it changes nothing where none is configured.

    A scan is changed in the same way whatever other scans are in the batch, so that training over several processes
    gives the same model as training in one.
    """

    def __init__(self, plugin: Plugin | None) -> None:
        self._plugin = plugin
        self._change = None if plugin is None else _imported(plugin)

    def __call__(self, scans: Tensor, seed: int, places: NDArray[np.int64]) -> Tensor:
        """Change a batch.

        Parameters
        ----------
        scans
            (s, 1, i, j, k), float32.
        seed
            Of the step.
        places
            (s,), the place of each scan in the whole batch.

        Returns
        -------
        Tensor
            (s, 1, i, j, k), float32, on the device of the input.

        Raises
        ------
        PluginError
            Where the transform fails, or gives another shape or numbers that are not finite.
        """
        if self._change is None:
            return scans
        return torch.stack([self._changed(scan, seed, int(place)) for scan, place in zip(scans, places, strict=True)])

    def _changed(self, scan: Tensor, seed: int, place: int) -> Tensor:
        assert self._plugin is not None
        assert self._change is not None
        own = (seed * 1_009 + place) % MAX_SEED
        try:
            found = torch.as_tensor(_call(self._change, scan.clone(), own))
        except Exception as error:
            raise plugin_failure(self._plugin, error) from error
        if found.shape != scan.shape:
            raise PluginError(f"{self._plugin} makes {tuple(found.shape)} of {tuple(scan.shape)}: the shape must stay")
        if not bool(found.isfinite().all()):
            raise PluginError(f"{self._plugin} gives NaN or infinite voxels: they must be finite")
        return found.to(scan.device, scan.dtype)


def transform_of(config: TrainConfig) -> PluginTransform:
    """Return the transform that the configuration names; one that changes nothing where it names none."""
    if config.transform is None:
        return PluginTransform(None)
    return PluginTransform(find_plugin(PluginKind.TRANSFORM, config.transform, config.transform_args))


def _imported(plugin: Plugin) -> Any:
    """A function with its arguments, or an instance of a class such as MONAI's random transforms."""
    return bind_plugin(plugin, ("scan",) if is_monai_random(import_plugin(plugin)) else ("scan", "generator"))


def is_monai_random(found: object) -> bool:
    """Tell whether an object is one of MONAI's random transforms.

    They are seeded by their method `set_random_state`, and called with the scan alone.
    """
    return hasattr(found, "set_random_state")


def _call(change: Any, scan: Tensor, seed: int) -> Any:
    """MONAI's random transforms are seeded by a method of their own; others are given a generator."""
    if is_monai_random(change):
        change.set_random_state(seed=seed)
        found = change(scan)
        return found.as_tensor() if hasattr(found, "as_tensor") else found
    return change(scan, torch.Generator(scan.device).manual_seed(seed))
