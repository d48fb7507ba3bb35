"""Train the network that finds the brain and its parts, on synthetic scans of label maps.

    python -m benchmarks.train_brain_network ../shared/real OUT --minutes 80 [--held-out 17 18 19 20] [--resume SHARE]

`--resume SHARE` goes on from OUT/state.pt, or, where there is none, from the weights of the package. OUT gets
`brain_network.safetensors` (half precision, what ships) and `state.pt` (to go on from), every few minutes. One thread.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional

from benchmarks import training_step
from siamese_med.brain import head_grid
from siamese_med.brain.network import BLOCK, WEIGHTS, BrainUNet, load_brain_network, to_blocks
from siamese_med.brain.structures import MIRRORED, Structure
from siamese_med.simulation import label_map_synthesis as synthesis
from siamese_med.simulation import synthetic_head_scans as heads
from siamese_med.simulation.label_map_synthesis import LabelMap

HELD_OUT = (17, 18, 19, 20)
"""Label maps that are not trained on."""
PEAK_RATE, WARM_UP_STEPS = 1.5e-3, 50
FIRST_EVENNESS, EVEN_UNTIL = 0.5, 0.6
"""Structures count between like voxels and like structures at first, like voxels from this share of training on."""
EMA_HALF_LIFE_STEPS = 150
SUB_VOXELS = 2
"""Of the eight voxels of a block, this many count in the loss of a step: it takes most of the time."""
REMOVED_BELOW = 0.02
"""Scaled intensity below which fluid of a brain-extracted scan was removed."""
SAVE_SECONDS = 240


@dataclass(frozen=True)
class Sample:
    """What the network sees (1, 1, i, j, k), and the structure of every voxel (uint8 i, j, k)."""

    image: torch.Tensor
    structures: torch.Tensor


def draw_sample(maps: Sequence[LabelMap], rng: np.random.Generator) -> Sample:
    """A synthetic scan on the network's grid."""
    person = maps[rng.integers(len(maps))]
    warp = synthesis.draw_warp(rng, 45.0 if rng.random() < 0.1 else 25.0, float(rng.choice([1.5, 3.0, 4.0])))
    protocol = heads.draw_protocol(rng)
    centre = tuple(float(value) for value in np.clip(rng.normal(0, 10, 3), -24, 24))
    head = heads.synthesise_head_scan(person, protocol, rng, warp, centre_mm=(centre[0], centre[1], centre[2]))
    grid = head_grid.resample_to_grid(head.scan)
    scaled = head_grid.scale_intensity(grid.voxels)
    box, first = head_grid.crop_around(scaled, np.asarray(scaled.shape) // 2)
    affine = grid.affine.copy()
    affine[:3, 3] += grid.affine[:3, :3] @ first
    structures = synthesis.get_structures(
        person, warp.sample(person, affine, head_grid.CROP_SHAPE, np.zeros((1, 3)))[0]
    )
    image = torch.from_numpy(box)
    seen, _ = head_grid.crop_around(np.ones_like(scaled), np.asarray(scaled.shape) // 2)
    structures[torch.from_numpy(seen) == 0] = Structure.BACKGROUND
    if protocol.removed == "scalp":  # fluid that was removed with the scalp
        structures[(image < REMOVED_BELOW) & (structures == Structure.OTHER_FLUID)] = Structure.BACKGROUND
    if rng.random() < 0.5:
        image, structures = image.flip(0), torch.tensor(MIRRORED, dtype=torch.uint8)[structures.flip(0).long()]
    return Sample(image[None, None], structures)


def compute_loss(network: BrainUNet, sample: Sample, rng: np.random.Generator, evenness: float) -> torch.Tensor:
    """Cross-entropy and soft Dice over some of each block's voxels, the Dice of the whole brain among them.

    evenness: 0 counts every voxel alike, 1 every structure. Small structures are learned sooner with some of it, but
    the brain comes out too large.
    """
    count = len(Structure)
    chosen = torch.from_numpy(rng.choice(BLOCK, SUB_VOXELS, replace=False))
    rows = (chosen[:, None] * count + torch.arange(count)).flatten()
    with training_step.compute_in_half_precision():
        features = network.features(sample.image)
        scores = functional.conv3d(features, network.last.weight[rows], network.last.bias[rows])
    flat = scores.permute(0, 2, 3, 4, 1).reshape(-1, count).float()
    truth = to_blocks(sample.structures[None])[0, chosen].permute(1, 2, 3, 0).reshape(-1).long()
    logs = functional.log_softmax(flat, 1)
    shares = logs.exp()
    right = shares.gather(1, truth[:, None])[:, 0]
    met = torch.zeros(count).index_add(0, truth, right)
    sizes = torch.bincount(truth, minlength=count).float()
    dice = (2 * met + 1) / (shares.sum(0) + sizes + 1)
    present = (sizes > 20).float()
    brain = 1 - shares[:, 0]
    inside = (truth > 0).float()
    whole = 1 - (2 * (brain * inside).sum() + 1) / (brain.sum() + inside.sum() + 1)
    weights = (sizes + 1) ** -evenness
    entropy = functional.nll_loss(logs, truth, weights)
    return entropy + 1 - (dice * present).sum() / present.sum() + whole


def save(out: Path, network: BrainUNet, state: dict[str, object]) -> None:
    """Write the weights that ship, and the state to go on from."""
    from safetensors.torch import save_file

    halves = {name: values.half().contiguous() for name, values in network.state_dict().items()}
    save_file(halves, out / (WEIGHTS + ".new"))
    (out / (WEIGHTS + ".new")).replace(out / WEIGHTS)
    torch.save(state, out / "state.new")
    (out / "state.new").replace(out / "state.pt")


def train(folder: Path, out: Path, minutes: float, held_out: Sequence[int], resume: float | None) -> None:
    """Train for a time; the learning rate falls to zero at its end. `resume`: share of the schedule that is done."""
    files = sorted((folder / "label_maps").glob("*.nii.gz"))
    maps = [synthesis.read_label_map(path) for path in files if int(path.name[13:15]) not in held_out]
    network = BrainUNet().to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=1e-4)
    step, seed = 0, 0
    if resume is not None and not (out / "state.pt").is_file():
        network.load_state_dict(load_brain_network().state_dict())
        seed = int(1000 * resume)
    elif resume is not None:
        state = torch.load(out / "state.pt", weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        step, seed = state["step"], state["step"]
    rng = np.random.default_rng(1 + seed)
    average = copy.deepcopy(network)
    began = saved = time.monotonic()
    losses: list[float] = []
    while (elapsed := (time.monotonic() - began) / (60 * minutes)) < 1:
        done = (resume or 0.0) + (1 - (resume or 0.0)) * elapsed
        loss = compute_loss(network, draw_sample(maps, rng), rng, FIRST_EVENNESS * max(0.0, 1 - done / EVEN_UNTIL))
        training_step.take_step(
            loss,
            network,
            average,
            optimiser,
            rate=training_step.compute_rate(PEAK_RATE, step, WARM_UP_STEPS, done),
            max_gradient=5.0,
            step=step,
            half_life_steps=EMA_HALF_LIFE_STEPS,
        )
        step += 1
        losses.append(loss.item())
        if step % 50 == 0:
            print(f"{(time.monotonic() - began) / 60:.1f} min, step {step}: {np.mean(losses[-50:]):.3f}", flush=True)
        if time.monotonic() - saved > SAVE_SECONDS:
            save(out, average, {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step})
            saved = time.monotonic()
    save(out, average, {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step})


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder that holds label_maps")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--held-out", type=int, nargs="*", default=HELD_OUT)
    parser.add_argument("--resume", type=float, help="go on, at this share of the schedule")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train(given.folder, given.out, given.minutes, given.held_out, given.resume)


if __name__ == "__main__":
    main()
