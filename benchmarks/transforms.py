"""Scans a second of each random transform of training: ours on a batch, MONAI's nearest scan by scan, kornia's.

    python -m benchmarks.transforms [--batch 8] [--edge 64] [--rounds 15] [--device cpu]

All are measured in turn in one process; seconds are of CPU time where there is no GPU, and medians count. MONAI's run
as in its loaders, on dictionaries of one scan, without metadata, which is their fastest. kornia is measured where it is
installed. The last column says whether MONAI's does the same; where it does not, it is the nearest that there is.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from monai import transforms as monai_transforms
from monai.data import set_track_meta
from torch import Tensor

from siamese_med.study.config import TrainConfig
from siamese_med.training.augmentation import BatchCompose, build_augmentation
from siamese_med.training.batch_transforms import (
    RandControlPointBiasFieldd,
    RandGammaCurved,
    RandShortFieldOfViewd,
    RandSliceBlurd,
    RandTissueNoised,
)
from siamese_med.training.patient_geometry import RandPatientGeometryd

KEY = "image"
ALWAYS: dict[str, Any] = {"prob": 1.0}
POSE = {"rotate_range": (0.03,) * 3, "translate_range": (0.5,) * 3, "padding_mode": "border", **ALWAYS}


@dataclass(frozen=True)
class Rivals:
    """One transform of ours and what is nearest to it; `same` is yes, or why MONAI's is not the same."""

    title: str
    ours: Callable[..., Any]
    monai: Callable[..., Any] | None
    same: str
    kornia: tuple[str, dict[str, Any]] | None = None


def list_rivals() -> list[Rivals]:
    """The transforms of training, in their order, and all of them together."""
    geometry = monai_transforms.Rand3DElasticd(KEY, sigma_range=(5, 7), magnitude_range=(20, 60), **POSE)
    others = [
        monai_transforms.RandGaussianSmoothd(
            KEY, sigma_x=(0.25, 0.6), sigma_y=(0.1, 0.11), sigma_z=(0.1, 0.11), prob=1
        ),
        monai_transforms.RandBiasFieldd(KEY, coeff_range=(0.0, 0.1), **ALWAYS),
        monai_transforms.RandAdjustContrastd(KEY, gamma=(0.7, 1.4), **ALWAYS),
        monai_transforms.RandGaussianNoised(KEY, std=0.03, sample_std=True, **ALWAYS),
        monai_transforms.RandCoarseDropoutd(KEY, holes=1, spatial_size=(8, 64, 64), fill_value=0, **ALWAYS),
    ]
    ours = build_augmentation(TrainConfig())
    turned = ("RandomAffine3D", {"degrees": 2.0, "translate": (0.01,) * 3, "p": 1.0})
    no_warp = RandPatientGeometryd(warp_voxels=0.0, keys=KEY)
    return [
        Rivals("pose of each scan", no_warp, monai_transforms.RandAffined(KEY, **POSE), "yes", turned),
        Rivals("pose, and warp shared by a patient", RandPatientGeometryd(keys=KEY), geometry, "not shared"),
        Rivals("slice blur", RandSliceBlurd(), others[0], "Gaussian"),
        Rivals("bias field", RandControlPointBiasFieldd(), others[1], "polynomial"),
        Rivals("contrast curve", RandGammaCurved(), others[2], "keeps the extremes"),
        Rivals("noise", RandTissueNoised(), others[3], "yes, but for air"),
        Rivals("short field of view", RandShortFieldOfViewd(KEY), others[4], "a hole"),
        Rivals("all of training", ours, monai_transforms.Compose([geometry, *others]), "nearest"),
    ]


def run_ours(transform: Callable[..., Any], scans: Tensor) -> None:
    """One batch of four patients' scans."""
    whole = transform if isinstance(transform, BatchCompose) else BatchCompose([transform])
    whole.set_random_state(seed=1)({KEY: scans, "subject": [place // 2 for place in range(len(scans))]})


def run_monai(transform: Callable[..., Any], scans: Tensor) -> None:
    """The same scans one after the other, and stacked again."""
    torch.stack([transform({KEY: scan})[KEY] for scan in scans])


def build_kornia(name: str, arguments: dict[str, Any]) -> Callable[..., Any] | None:
    """A transform of kornia; None where it is not installed."""
    if importlib.util.find_spec("kornia") is None:
        return None
    from kornia import augmentation

    made: Callable[..., Any] = getattr(augmentation, name)(**arguments)
    return made


def measure_rates(runs: dict[str, Callable[[], object]], count: int, rounds: int, device: str) -> dict[str, float]:
    """Scans a second of each, from medians over rounds in which all take their turn."""
    clock = time.process_time if device == "cpu" else time.perf_counter  # others may use the cores too
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            started = clock()
            run()
            if device != "cpu":
                torch.cuda.synchronize()
            if number:  # the first round warms up
                seconds[name].append(clock() - started)
    return {name: count / median(times) for name, times in seconds.items()}


def compare_rates(rivals: Rivals, scans: Tensor, rounds: int) -> str:
    """One row of the table."""
    runs: dict[str, Callable[[], object]] = {"ours": lambda: run_ours(rivals.ours, scans)}
    if (theirs := rivals.monai) is not None:
        runs["monai"] = lambda: run_monai(theirs, scans)
    if rivals.kornia is not None and (other := build_kornia(*rivals.kornia)) is not None:
        runs["kornia"] = lambda: other(scans)
    found = measure_rates(runs, len(scans), rounds, scans.device.type)
    cells = [f"{found[name]:.0f}" if name in found else "-" for name in ("ours", "monai", "kornia")]
    ratio = f"{found['ours'] / found['monai']:.1f}" if "monai" in found else "-"
    return f"| {rivals.title} | {' | '.join(cells)} | {ratio} | {rivals.same} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--edge", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    set_track_meta(False)
    generator = torch.Generator().manual_seed(0)
    scans = torch.rand(given.batch, 1, *(given.edge,) * 3, generator=generator).to(given.device)
    scans[:, :, : given.edge // 8] = 0
    unit = "CPU second" if given.device == "cpu" else "second"
    print(f"Scans a {unit}; batches of {given.batch} at {given.edge}^3, {given.device}, ", end="")
    print(f"{torch.get_num_threads()} threads, median of {given.rounds} rounds.\n")
    print("| transform | ours | MONAI | kornia | ours / MONAI | does MONAI's do the same? |\n|---|---|---|---|---|---|")
    for rivals in list_rivals():
        print(compare_rates(rivals, scans, given.rounds), flush=True)


if __name__ == "__main__":
    main()
