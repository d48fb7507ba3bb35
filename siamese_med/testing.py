"""Checks for authors of plug-ins: each raises AssertionError in one line where a plug-in breaks its contract.

Every check takes the plug-in as a configuration names it, `"my_pkg.nets:UNet"`, or the object itself, which must stand
at the top of a module. The arguments after it are those that the configuration would give.

>>> from siamese_med.testing import check_encoder, check_loss
>>> check_encoder("monai.networks.nets:DenseNet121", spatial_dims=3, in_channels="$channels", out_channels="$embedding")
>>> check_loss("pytorch_metric_learning.losses:CircleLoss", m=0.4, gamma=80)
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from siamese_med.errors import PluginError
from siamese_med.imaging.volume import Volume, make_centred_affine
from siamese_med.ingestion.reasons import RejectedError
from siamese_med.ingestion.scan_checks import check_scan, own_hints
from siamese_med.network import encoder as encoders
from siamese_med.network import losses
from siamese_med.plugins import Plugin, find_plugin, import_plugin
from siamese_med.preparation.registrations import register_to_template
from siamese_med.scoring.change.detectors import PluginDetector
from siamese_med.scoring.change.pair_registration import PairSpace, RegisteredPair
from siamese_med.study.config import TrainConfig
from siamese_med.study.plugin_names import PluginKind
from siamese_med.training.batch_transforms import IMAGE, MASK, SUBJECT
from siamese_med.training.plugin_transform import wrap_plugin

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydantic import JsonValue

GRID = (24, 20, 22)
"""Voxels of the scans that plug-ins are tried on; all edges differ, so that a swapped axis is seen."""
ENCODER_GRID = (40, 48, 36)
"""Voxels of what encoders are tried on, about as many as they are given by default."""
SPACING_MM = 6.0
"""Voxel edge of these scans."""
FLIP_TOLERANCE = 1e-3
"""Largest difference between the evidence of swapped scans and the negative, as a share of its largest value."""
BATCH_TOLERANCE = 1e-3
"""Largest effect of the batch on an embedding, as a share of its length: sums are rounded differently."""
SEEDS = 16
"""Times that a random transform is tried: one that does something in one of ten scans is seen with 81 %."""
TURN_RADIANS, SHIFT_MM = (0.08, -0.05, 0.1), (6.0, -5.0, 4.0)
"""The pose that a registration has to find: about 8 degrees and 9 mm."""


def check_encoder(
    encoder: str | Callable[..., nn.Module],
    /,
    embedding: int = 8,
    channels: int = 1,
    grid: tuple[int, int, int] = ENCODER_GRID,
    **arguments: JsonValue,
) -> None:
    """Check an encoder.

    It is made with `embedding`, `channels` and `grid` where it has parameters of these names. It turns (b, channels, i,
    j, k) into (b, embedding), finite. In evaluation mode a scan's embedding does not depend on the batch. Two scans
    have two embeddings, and gradients reach a parameter.
    """
    plugin = _plugin_of(PluginKind.ENCODER, encoder, arguments)
    config = TrainConfig(embedding_size=embedding, encoder=plugin.name, encoder_args=arguments)
    with _told(plugin):
        torch.manual_seed(0)
        network = encoders.build_encoder(config, channels, grid).eval()
        scans = torch.rand(3, channels, *grid, generator=torch.Generator().manual_seed(1))
        scans *= torch.tensor([0.5, 1.0, 2.0])[:, None, None, None, None]
        found = network(scans)
        alone = network(scans[:1])
    assert bool(found.isfinite().all()), f"{plugin} gives an embedding that is not finite"
    apart = float((found[:1] - alone).norm() / found[:1].norm().clamp(min=1e-9))
    advice = "use GroupNorm or InstanceNorm in place of what mixes scans"
    assert apart <= BATCH_TOLERANCE, f"{plugin} embeds a scan otherwise alone than in a batch: {advice}"
    assert not torch.allclose(found[0], found[1]), f"{plugin} gives the same embedding for two different scans"
    _check_gradient(plugin, found.square().sum(), network)


def _check_gradient(plugin: Plugin, value: Tensor, network: nn.Module) -> None:
    assert value.requires_grad, f"{plugin} has nothing to learn: its result depends on no parameter"
    value.backward()
    slopes = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(bool(slope.isfinite().all()) for slope in slopes), f"{plugin} has a gradient that is not finite"
    assert any(bool(slope.any()) for slope in slopes), f"{plugin} has no gradient: it cannot learn"


def check_loss(loss: str | Callable[..., nn.Module], /, embedding: int = 8, **arguments: JsonValue) -> None:
    """Check a loss.

    It is called with embeddings (b, e), labels (b,), and None or explicit pairs (a1, positive, a2, negative). It
    returns one finite number, lower where the scans of each patient lie together than where they are mixed, with a
    gradient.
    """
    plugin = _plugin_of(PluginKind.LOSS, loss, arguments)
    with _told(plugin):
        torch.manual_seed(0)
        recipe = losses.build_loss(TrainConfig(embedding_size=embedding, loss=plugin.name, loss_args=arguments))
        labels = torch.arange(4).repeat_interleave(2)
        generator = torch.Generator().manual_seed(1)
        centres = nn.functional.normalize(torch.randn(4, embedding, generator=generator), dim=1) * 3
        good = centres.repeat_interleave(2, 0) + 0.1 * torch.randn(8, embedding, generator=generator)
        bad = good[torch.tensor([0, 2, 1, 4, 3, 6, 5, 7])].requires_grad_()
        pairs = tuple(torch.tensor(places) for places in ((0, 2), (1, 3), (0, 2), (4, 6)))
        low, high, explicit = recipe(good, labels, None), recipe(bad, labels, None), recipe(bad, labels, pairs)
    for value in (low, high, explicit):
        assert value.numel() == 1, f"{plugin} gives {tuple(value.shape)}: it must give one number"
        assert bool(value.isfinite().all()), f"{plugin} gives {float(value)}: it must be finite"
    figures = f"{float(low):.4g} and {float(high):.4g}"
    assert float(low) < float(high), (
        f"{plugin} is no lower for patients that are told apart than for mixed ones: {figures}"
    )
    assert high.requires_grad, f"{plugin} has no gradient: compute it with torch from the embeddings"
    high.backward()
    slope = bad.grad
    assert slope is not None, f"{plugin} does not depend on the embeddings"
    assert bool(slope.isfinite().all()), f"{plugin} has a gradient that is not finite"
    assert bool(slope.any()), f"{plugin} has a gradient of zero for mixed patients: it cannot teach anything"


def check_detector(detector: str | Callable[..., object], /, smoothing_mm: float = 2.0, **arguments: JsonValue) -> None:
    """Check a change detector.

    It is called with a pair (see `scoring.change.pair_registration.RegisteredPair`) and the spacing in mm. It returns
    signed evidence (i, j, k), finite: 0 for a scan with itself, the negative for swapped scans, positive where the
    later scan is brighter. It returns the same twice, and can be pickled, since pairs are measured in several
    processes.
    """
    plugin = _plugin_of(PluginKind.DETECTOR, detector, arguments)
    _check_pickle(plugin)
    detect = PluginDetector(plugin, smoothing_mm)
    pair, planted = _pair()
    swapped = replace(pair, earlier=pair.later, later=pair.earlier, a=pair.b, b=pair.a)
    same = replace(pair, later=pair.earlier, b=pair.a)
    with _told(plugin):
        found, back, nothing, again = (detect(one, SPACING_MM) for one in (pair, swapped, same, pair))
    largest = float(found.abs().max())
    assert largest > 0, f"{plugin} sees nothing in a scan with a bright spot that the other one lacks"
    assert torch.equal(found, again), f"{plugin} gives something else each time: seed what is random in it"
    left = float(nothing.abs().max())
    assert left <= FLIP_TOLERANCE * largest, f"{plugin} is not zero for a scan with itself: {left:.3g}"
    flip = float((found + back).abs().max())
    assert flip <= FLIP_TOLERANCE * largest, f"{plugin} does not flip its sign for swapped scans: off by {flip:.3g}"
    assert float(found[planted].mean()) > 0, f"{plugin} is not positive where the later scan is brighter"


def check_registration(
    registration: str | Callable[..., object], /, tolerance_mm: float = 2.0, **arguments: JsonValue
) -> None:
    """Check a registration.

    It is called with (moving, fixed), two `Volume`s, and returns the 4x4 matrix from fixed mm to moving mm (RAS+). It
    finds a known rigid pose to within `tolerance_mm`, on average over the head, leaves an aligned scan as it is, and
    can be pickled.
    """
    plugin = _plugin_of(PluginKind.REGISTRATION, registration, arguments)
    _check_pickle(plugin)
    fixed = _head(np.eye(4))
    places = np.argwhere(fixed.voxels > fixed.voxels.mean()) @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    for name, pose in (("a scan that lies right", np.eye(4)), ("a turned and shifted scan", _pose())):
        with _told(plugin):
            found = register_to_template(plugin, [_head(pose)], fixed)[0].matrix
        off = (found - pose)[:3, :3] @ places.T + (found - pose)[:3, 3:]
        error = float(np.linalg.norm(off, axis=0).mean())
        inverse = "; does it give the inverse?" if error > tolerance_mm and _is_inverse(found, pose) else ""
        assert error <= tolerance_mm, f"{plugin} lays {name} {error:.2f} mm off, over {tolerance_mm:g} mm{inverse}"


def check_transform(transform: str | Callable[..., object], /, **arguments: JsonValue) -> None:
    """Check a transform of training scans.

    It is called as in a training, see docs/plugins.md: with a scan (1, i, j, k), float32, and a `torch.Generator`; or,
    where it is one of MONAI's, with the scan alone or a dictionary of it; or, where it is a `RandBatchTransformd`,
    with a batch. The shape stays, voxels are finite, the same seed gives the same scan, and some of many seeds change
    it.
    """
    plugin = _plugin_of(PluginKind.TRANSFORM, transform, arguments)
    scan = torch.from_numpy(_head(np.eye(4)).voxels)[None, None]
    batch = {IMAGE: scan, MASK: (scan > 0).float(), SUBJECT: ["sub-1"], "session": ["ses-1"], "days": torch.zeros(1)}
    with _told(plugin):
        change = wrap_plugin(plugin)
        first, again = (change.set_random_state(seed=3)(batch)[IMAGE] for _ in range(2))
        seeds = range(SEEDS)
        changed = [not torch.equal(change.set_random_state(seed=seed)(batch)[IMAGE], scan) for seed in seeds]
    assert first.shape == scan.shape, f"{plugin} makes {tuple(first.shape)} of {tuple(scan.shape)}: the shape must stay"
    assert bool(first.isfinite().all()), f"{plugin} gives NaN or infinite voxels: they must be finite"
    assert torch.equal(first, again), f"{plugin} gives something else for the same seed: draw from its generator alone"
    assert any(changed), f"{plugin} left the scan as it was for {SEEDS} seeds"


def check_reason(reason: str | Callable[..., object], /, **arguments: JsonValue) -> None:
    """Check a reason for refusing scans.

    It has a `word` of its own and a one-line `hint`. It says of a `Volume` whether to refuse it, and does not fail: on
    a head, on a very small scan, and on one with a single value.
    """
    from siamese_med.study.config import IngestConfig

    plugin = _plugin_of(PluginKind.REASON, reason, arguments)
    with _told(plugin):
        own_hints(IngestConfig(reasons={plugin.name: arguments}))
        small = Volume(np.zeros((3, 3, 3), dtype=np.float32), np.eye(4))
        for scan in (_head(np.eye(4)), small):
            failed = _failure_of_check(scan, plugin)
            assert failed is None, f"{plugin} failed on a scan: {failed!r}"


def _failure_of_check(scan: Volume, plugin: Plugin) -> BaseException | None:
    try:
        check_scan(scan, [plugin])
    except RejectedError as rejected:
        return rejected.__cause__ if rejected.reason == "check_failed" else None
    return None


def _plugin_of(kind: PluginKind, named: str | Callable[..., object], arguments: dict[str, JsonValue]) -> Plugin:
    if isinstance(named, str):
        with _told(named):
            return find_plugin(kind, named, arguments)
    module, name = getattr(named, "__module__", ""), getattr(named, "__qualname__", "")
    assert name.isidentifier(), f"{named!r} cannot be named in a configuration: put it at the top of a module"
    plugin = find_plugin(kind, f"{module}:{name}", arguments)
    with _told(plugin):
        found = import_plugin(plugin)
    assert found is named, f"{plugin} is another object there: put it at the top of a module"
    return plugin


@contextmanager
def _told(plugin: Plugin | str) -> Iterator[None]:
    """A plug-in error as an assertion that failed."""
    try:
        yield
    except PluginError as error:
        raise AssertionError(str(error)) from error
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise AssertionError(f"{plugin} failed ({type(error).__name__}: {error})") from error


def _check_pickle(plugin: Plugin) -> None:
    with _told(plugin):
        found = import_plugin(plugin)
    try:
        same = pickle.loads(pickle.dumps(found)) is found
    except Exception as error:
        raise AssertionError(
            f"{plugin} cannot be pickled ({type(error).__name__}): put it at the top of a module"
        ) from error
    assert same or not isinstance(found, type), f"{plugin} is another class after pickling"


def _pose() -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(TURN_RADIANS).as_matrix()
    pose[:3, 3] = SHIFT_MM
    return pose


def _is_inverse(found: NDArray[np.float64], pose: NDArray[np.float64]) -> bool:
    return bool(np.linalg.norm(found @ pose - np.eye(4)) < 0.5 * np.linalg.norm(found - pose))


def _head(pose: NDArray[np.float64]) -> Volume:
    """A head-like scan that lies as `pose` says: template mm to its own mm; voxels float32, about 0 to 1."""
    affine = make_centred_affine(GRID, SPACING_MM)
    places = np.indices(GRID).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    back = np.linalg.inv(pose)
    x, y, z = (places @ back[:3, :3].T + back[:3, 3]).T
    radius = np.sqrt((x / 55) ** 2 + (y / 46) ** 2 + (z / 50) ** 2)
    brightness = 0.6 / (1 + np.exp((radius - 1) * 12))
    rng = np.random.default_rng(5)
    for centre, size in zip(rng.uniform(-32, 32, (24, 3)), rng.uniform(6, 14, 24), strict=True):
        apart = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
        brightness += rng.uniform(-0.4, 0.4) * np.exp(-apart / (2 * size**2)) * (radius < 1)
    return Volume(brightness.clip(0).reshape(GRID).astype(np.float32), affine)


def _pair() -> tuple[RegisteredPair, NDArray[np.bool_]]:
    """Two scans of a head with their noise, the later one with a bright spot; and the voxels of that spot."""
    scan = torch.from_numpy(_head(np.eye(4)).voxels)
    generator = torch.Generator().manual_seed(2)
    a, b = (scan + 0.02 * torch.randn(scan.shape, generator=generator) for _ in range(2))
    planted = np.zeros(GRID, dtype=bool)
    planted[10:14, 8:12, 9:13] = True
    b[torch.from_numpy(planted)] += 0.4
    inside = scan > 0.2
    space = PairSpace(make_centred_affine(GRID, SPACING_MM), inside.numpy())
    return RegisteredPair(space, a, b, a, b, inside, 1.0, 1.0, np.eye(4), np.eye(4)), planted
