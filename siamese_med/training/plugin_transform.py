"""A user's own transform of training scans: of a whole batch, of a scan as a dictionary, or of a scan alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, MapTransform, Randomizable, Transform
from torch import Tensor

from siamese_med.errors import PluginError
from siamese_med.plugins import Plugin, bind_plugin, build_plugin, find_plugin, import_plugin, plugin_failure
from siamese_med.study.config import TrainConfig
from siamese_med.study.plugin_names import PluginKind
from siamese_med.training.batch_transforms import (
    BATCH_SUBJECT,
    IMAGE,
    MASK,
    PLACE,
    RandBatchTransformd,
    find_places,
    keep_meta,
    strip_meta,
)

MAX_SEED = 2**32
"""Seeds are below this, since MONAI's transforms take no larger ones."""
BATCH_KEYS = (BATCH_SUBJECT, PLACE)
"""Keys of a batch that no single scan has."""


class RandEachScand(Randomizable, Transform):  # type: ignore[misc]
    """Apply a plug-in to every scan of a batch, each time with a seed of its own.

    A scan is changed in the same way whatever other scans are in the batch, so that training over several processes
    gives the same model as training in one.

    Parameters
    ----------
    plugin
        One of three. A dictionary transform of MONAI, or a `Compose` of them, is called with a dictionary of one scan:
        `image` (1, i, j, k), `mask` where there is one, `subject`, `session`, `days`. Another transform of MONAI is
        called with the image alone. Any other function is called with the image and a `torch.Generator`.

    Raises
    ------
    PluginError
        On a call, where the transform fails, or gives another shape or numbers that are not finite.
    """

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        seeded = is_monai_transform(import_plugin(plugin))
        self._change = bind_plugin(plugin, ("scan",) if seeded else ("scan", "generator"))
        self._seed = 0

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandEachScand:
        """Keep the seed of the batch, of which each scan's own seed is made; it may be any whole number from 0."""
        drawn = np.random.RandomState() if state is None else state
        self._seed = int(drawn.randint(MAX_SEED, dtype=np.int64)) if seed is None else seed
        return self

    def randomize(self, data: Mapping[Any, Any]) -> None:
        """Draw nothing: the transform draws for itself, from the seed of each scan."""

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        scans = [self._changed(_pick_scan(data, n), int(place)) for n, place in enumerate(find_places(data))]
        changed = dict(data)
        for key in scans[0]:
            changed[key] = keep_meta(torch.stack([scan[key] for scan in scans]), data[key])
        return changed

    def _changed(self, scan: dict[Any, Any], place: int) -> dict[Any, Tensor]:
        """The image of one scan, and its mask where it has one, after the change."""
        try:
            found = _call(self._change, scan, (self._seed * 1_009 + place) % MAX_SEED)
            voxels: dict[Any, Tensor] = {
                key: strip_meta(torch.as_tensor(found[key])) for key in (IMAGE, MASK) if key in scan
            }
        except Exception as error:
            raise plugin_failure(self._plugin, error) from error
        for key, changed in voxels.items():
            former = scan[key]
            if changed.shape != former.shape:
                wanted = f"{tuple(changed.shape)} of {tuple(former.shape)}"
                raise PluginError(f"{self._plugin} makes {wanted}: the shape must stay")
            if not bool(changed.isfinite().all()):
                raise PluginError(f"{self._plugin} gives NaN or infinite voxels: they must be finite")
            voxels[key] = changed.to(former.device, former.dtype)
        return voxels

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._plugin.name!r}, {self._plugin.arguments})"


def build_plugin_transform(config: TrainConfig) -> RandBatchTransformd | RandEachScand | None:
    """Build the transform that `train.transform` names; None where it names none.

    A subclass of `RandBatchTransformd` changes a whole batch on its device. Anything else is called for each scan.
    """
    if config.transform is None:
        return None
    return wrap_plugin(find_plugin(PluginKind.TRANSFORM, config.transform, config.transform_args))


def wrap_plugin(plugin: Plugin) -> RandBatchTransformd | RandEachScand:
    """Return a plug-in as a transform of batches.

    Raises
    ------
    PluginError
        It cannot be made.
    """
    found: Any = import_plugin(plugin)
    if isinstance(found, type) and issubclass(found, RandBatchTransformd):
        made: RandBatchTransformd = build_plugin(plugin)
        return made
    return RandEachScand(plugin)


def is_monai_transform(found: object) -> bool:
    """Tell whether an object is a transform of MONAI, or a class of them.

    They are called with the scan alone. The random ones are seeded by their method `set_random_state`.
    """
    known = issubclass(found, Transform) if isinstance(found, type) else isinstance(found, Transform)
    return known or hasattr(found, "set_random_state")


def takes_dictionaries(change: object) -> bool:
    """Tell whether a transform takes a dictionary of a scan, rather than its image alone.

    Examples
    --------
    >>> from monai.transforms import Flip, Flipd
    >>> takes_dictionaries(Compose([Flipd("image")])), takes_dictionaries(Flip())
    (True, False)
    """
    if isinstance(change, Compose):
        return any(takes_dictionaries(one) for one in change.transforms)
    return isinstance(change, MapTransform)


def _pick_scan(data: Mapping[Any, Any], n: int) -> dict[Any, Any]:
    """One scan of a batch as a dictionary, with voxels of its own."""
    scan = {key: value[n] for key, value in data.items() if key not in BATCH_KEYS}
    return {**scan, **{key: scan[key].clone() for key in (IMAGE, MASK) if key in scan}}


def _call(change: Any, scan: dict[Any, Any], seed: int) -> dict[Any, Any]:
    if not is_monai_transform(change):
        image = strip_meta(scan[IMAGE])
        return {**scan, IMAGE: change(image, torch.Generator(image.device).manual_seed(seed))}
    if isinstance(change, Randomizable):
        change.set_random_state(seed=seed)
    found: dict[Any, Any] = change(dict(scan)) if takes_dictionaries(change) else {**scan, IMAGE: change(scan[IMAGE])}
    return found
