"""Train the change network that ships, on pairs whose change is known.

    python -m benchmarks.train_change_network ../shared/real OUT --minutes 60 [--pairs N] [--start WEIGHTS]

One process draws pairs (`benchmarks.change_synthesis`) and writes them to OUT/train, up to N of them; another trains on
crops of those that are there, and goes on with these. Into every second pair single spots are planted, brighter or
darker tissue of any size: those that `scoring.change.detectability` looks for are of that kind. OUT gets
`change_network.safetensors` (half precision, what ships) every few minutes. Label maps 17 to 20 and the people that
`benchmarks.lesion_froc.SEEN` leaves out are not trained on: pairs of these lie in OUT/validation, and what the network
finds in them is printed at the end.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from benchmarks import change_synthesis, lesion_froc, training_step
from benchmarks.change_synthesis import ChangePair
from benchmarks.lesion_froc import Findings, KnownPair
from benchmarks.real_scans_list import RealScan, list_real_scans
from siamese_med.imaging.resampling import smooth_images
from siamese_med.runtime import files
from siamese_med.scoring.change import change_unet, detectability, pretrained_detector
from siamese_med.scoring.change.change_unet import WEIGHTS, ChangeUNet
from siamese_med.simulation import label_map_synthesis as synthesis

HELD_OUT_MAPS = (17, 18, 19, 20)
VALIDATION_PAIRS = 60
CROP = (48, 64, 48)
"""Shape of a crop in voxels of 1.5 mm."""
CROPS_PER_PAIR = 3
PEAK_RATE, RESUMED_RATE, WARM_UP_STEPS, EMA_HALF_LIFE_STEPS = 1e-3, 5e-4, 100, 200
USUAL_VOXELS = 50.0
"""Voxels of a change that is larger than this weigh less, those of a smaller one more."""
CHANGED_SHARE, MAX_WEIGHT = 0.1, 60.0
"""Weight of the changed voxels of a crop beside that of the unchanged ones, and the most that one voxel weighs."""
LOSS_SCALE = 10.0
FIRST_SCORE = 3.0
"""Score of "unchanged" before training: most voxels are."""
AROUND_A_CHANGE = 0.7
"""Share of crops that are laid around a change."""
SPOT_SHARE, MAX_SPOTS = 0.5, 3
"""Share of the pairs into which spots are planted, and the most spots of one pair."""
SPOT_ML, SPOT_CONTRAST, SPOT_EDGE_MM = (0.03, 12.0), (0.12, 0.6), (0.4, 2.5)
"""Volume of a spot (drawn by its logarithm), its contrast to bright tissue, and the softness of its edge."""
FIRST_PAIRS = 20
"""Training begins when this many pairs are there."""
SAVE_SECONDS = 180
SEED = 20


def write_pairs(real: Path, out: Path, validation: bool, count: int) -> None:
    """Draw pairs until there are `count` of them; those that are there already are kept."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    label_maps = sorted((real / "label_maps").glob("*.nii.gz"))
    maps = [
        synthesis.read_label_map(path) for path in label_maps if (int(path.name[13:15]) in HELD_OUT_MAPS) == validation
    ]
    heads = [change_synthesis.read_head(one.path, one.contrast) for one in _choose_heads(real, validation)]
    shapes = change_synthesis.read_lesion_shapes(real)
    for number in range(count):
        path = out / f"{number:05d}.npz"
        if not path.is_file():
            pair = change_synthesis.draw_pair(maps, heads, shapes, np.random.default_rng([SEED, number, validation]))
            _write_pair(path, pair)


def _choose_heads(real: Path, validation: bool) -> list[RealScan]:
    """The real heads to paint: of ds002748 and ds000011, people who are trained on or people who are kept for tests."""
    chosen, people = [], {name: list[str]() for name in lesion_froc.SEEN}
    for one in list_real_scans(real):
        if one.dataset in people:
            if one.person not in people[one.dataset]:
                people[one.dataset].append(one.person)
            if (people[one.dataset].index(one.person) >= lesion_froc.SEEN[one.dataset]) == validation:
                chosen.append(one)
    return chosen


def _write_pair(path: Path, pair: ChangePair) -> None:
    """Write the box of a pair that is compared, in half precision."""
    places = torch.nonzero(pair.inside)
    if not len(places):
        return
    box = tuple(slice(int(a), int(b) + 1) for a, b in zip(places.amin(0), places.amax(0), strict=True))
    inside = pair.inside[box]
    parts = {
        "a": (pair.a[box] * inside).half(),
        "b": (pair.b[box] * inside).half(),
        "inside": inside,
        "truth": pair.truth[box],
        "weight": pair.weight[box] > 0,
    }
    with files.replace_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{name: part.numpy() for name, part in parts.items()})


def read_pair(path: Path) -> ChangePair:
    """Read a pair that `write_pairs` wrote."""
    with np.load(path) as stored:
        parts = {field.name: torch.from_numpy(stored[field.name]) for field in fields(ChangePair)}
    return ChangePair(parts["a"].float(), parts["b"].float(), *(parts[n] for n in ("inside", "truth", "weight")))


def plant_spots(pair: ChangePair, rng: np.random.Generator) -> ChangePair:
    """Plant a few ellipsoids in the later scan, brighter or darker, less what matching would take away."""
    later, truth, weight = pair.b.clone(), pair.truth.clone(), pair.weight.clone()
    places = np.argwhere((pair.inside & (torch.minimum(pair.a, pair.b) > detectability.MIN_TISSUE_INTENSITY)).numpy())
    for _ in range(rng.integers(1, MAX_SPOTS + 1) if len(places) else 0):
        volume_mm3 = 1000 * np.exp(rng.uniform(*np.log(SPOT_ML)))
        radii = rng.uniform(0.7, 1.3, 3)
        radii *= (3 * volume_mm3 / (4 * np.pi * radii.prod())) ** (1 / 3) / pretrained_detector.NETWORK_MM
        axes = [
            torch.arange(n, dtype=torch.float32) - float(c)
            for n, c in zip(later.shape, places[rng.integers(len(places))], strict=True)
        ]
        x, y, z = (axis / float(radius) for axis, radius in zip(axes, radii, strict=True))
        away = (x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2).sqrt() - 1
        soft = torch.sigmoid(-away * float(radii.mean()) * pretrained_detector.NETWORK_MM / rng.uniform(*SPOT_EDGE_MM))
        spread = detectability.MATCHING_LOSS_SD_MM / pretrained_detector.NETWORK_MM
        kept = soft - smooth_images(soft[None, None], spread)[0, 0]
        sign = int(rng.choice([-1, 1]))
        later += sign * float(rng.uniform(*SPOT_CONTRAST)) * kept
        spot = (soft > 0.5) & pair.inside
        truth[spot], weight[spot] = sign, weight.max()
    later = later.clamp(min=0) * (pair.b > 0)
    return replace(pair, b=later, truth=truth, weight=weight)


def draw_crops(pair: ChangePair, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield crops of a pair: input (1, c, i, j, k), class of each voxel (0, 1 brighter, 2 darker), weight."""
    inputs = change_unet.make_inputs(pair.a, pair.b, pair.inside)[0].numpy()
    truth = pair.truth.numpy()
    parts, count = ndimage.label(truth != 0, np.ones((3, 3, 3)))
    by_size = np.clip((USUAL_VOXELS / np.bincount(parts.ravel())) ** 0.5, 0.3, 3.0)
    by_size[0] = 1.0
    weight = (pair.weight.numpy() * by_size[parts]).astype(np.float32)
    places = np.argwhere(pair.inside.numpy())
    for _ in range(CROPS_PER_PAIR):
        centre = places[rng.integers(len(places))]
        if count and rng.random() < AROUND_A_CHANGE:
            one = np.argwhere(parts == rng.integers(1, count + 1))
            centre = one[rng.integers(len(one))] + rng.integers(-16, 17, 3)
        low = [int(np.clip(c - n // 2, 0, max(0, m - n))) for c, n, m in zip(centre, CROP, truth.shape, strict=True)]
        box = tuple(slice(a, a + n) for a, n in zip(low, CROP, strict=True))
        flipped = [axis for axis in (1, 2, 3) if rng.random() < 0.5]
        image, classes, weights = (
            torch.from_numpy(np.flip(_fill(part[:, *box]), flipped).copy())
            for part in (inputs, truth[None], weight[None])
        )
        image, classes = image[None], classes[0].long()
        if rng.random() < 0.5:
            image, classes = change_unet.swap_inputs(image), -classes
        yield image, torch.where(classes < 0, 2, classes), weights[0]


def _fill(part: NDArray[np.generic]) -> NDArray[np.generic]:
    """Fill a part (c, i, j, k) up to the shape of a crop with zeros."""
    room = [(0, 0), *((0, max(0, n - m)) for n, m in zip(CROP, part.shape[1:], strict=True))]
    return np.pad(part, room)


def compute_loss(network: ChangeUNet, image: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy a voxel. Changed ones have a tenth of the weight of all together, but none over MAX_WEIGHT."""
    with training_step.compute_in_half_precision():
        scores = network(image)
    entropy = -functional.log_softmax(scores.float()[0], 0).gather(0, classes[None])[0]
    known, changed = weights > 0, classes > 0
    quiet, changed = known & ~changed, known & changed
    count = float(quiet.sum().clamp(min=1))
    loss = entropy[quiet].sum() / count
    if changed.any():
        mine = weights[changed]
        factor = min(CHANGED_SHARE * count / float(mine.sum()), MAX_WEIGHT)
        loss = loss + factor * (entropy[changed] * mine).sum() / count
    return LOSS_SCALE * loss


def train(pairs: Path, out: Path, minutes: float, start: Path | None = None) -> ChangeUNet:
    """Train for a time; the learning rate falls to zero at its end. Returns the running mean of the weights.

    It goes on from the weights `start`, if there are any, at RESUMED_RATE.
    """
    network = ChangeUNet().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    with torch.no_grad():
        network.last.bias[0] = FIRST_SCORE
    peak = PEAK_RATE
    if start:
        from safetensors.torch import load_file

        network.load_state_dict({name: values.float() for name, values in load_file(start).items()})
        peak = RESUMED_RATE
    optimiser = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=1e-4)
    average, rng = copy.deepcopy(network), np.random.default_rng(SEED)
    step, losses = 0, list[float]()
    began = saved = time.monotonic()
    while (done := (time.monotonic() - began) / (60 * minutes)) < 1:
        known = sorted(pairs.glob("*.npz"))
        pair = read_pair(known[rng.integers(len(known))])
        pair = plant_spots(pair, rng) if rng.random() < SPOT_SHARE else pair
        for crop in draw_crops(pair, rng):
            loss = compute_loss(network, *crop)
            rate = training_step.compute_rate(peak, step, WARM_UP_STEPS, done)
            training_step.take_step(
                loss,
                network,
                average,
                optimiser,
                rate=rate,
                max_gradient=1.0,
                step=step,
                half_life_steps=EMA_HALF_LIFE_STEPS,
            )
            step += 1
            losses.append(loss.item())
            if step % 100 == 0:
                spent = (time.monotonic() - began) / 60
                print(f"{spent:.1f} min, step {step}, {len(known)} pairs: {np.mean(losses[-100:]):.3f}", flush=True)
        if time.monotonic() - saved > SAVE_SECONDS:
            save(out, average)
            saved = time.monotonic()
    save(out, average)
    return average


def save(out: Path, network: ChangeUNet) -> None:
    """Write the weights that ship."""
    from safetensors.torch import save_file

    halves = {name: values.half().contiguous() for name, values in network.state_dict().items()}
    with files.replace_atomically(out / WEIGHTS) as temporary:
        save_file(halves, temporary)


def validate(folder: Path, network: ChangeUNet) -> list[Findings]:
    """What the network finds in the validation pairs."""
    found = []
    for path in sorted(folder.glob("*.npz")):
        pair = read_pair(path)
        evidence = pretrained_detector.compute_evidence(pair.a, pair.b, pair.inside, network).numpy()
        lesions, _ = ndimage.label(pair.truth.numpy() != 0, lesion_froc.TOUCHING)
        voxel_ml = pretrained_detector.NETWORK_MM**3 / 1000
        known = KnownPair(path.stem, evidence, lesions, 0, pair.inside.numpy(), voxel_ml)
        found.append(lesion_froc.find_lesions(known))
    return found


def main() -> None:
    """Draw, train, validate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder that holds label_maps and the data sets of real heads")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spawn = multiprocessing.get_context("spawn")
    write_pairs(given.folder, given.out / "validation", True, VALIDATION_PAIRS)
    painter = spawn.Process(target=write_pairs, args=(given.folder, given.out / "train", False, given.pairs))
    painter.start()
    while len(list((given.out / "train").glob("*.npz"))) < min(FIRST_PAIRS, given.pairs):
        time.sleep(1)
    network = train(given.out / "train", given.out, given.minutes, given.start)
    painter.terminate()
    network.eval()
    lesion_froc.print_table("validation", validate(given.out / "validation", network))


if __name__ == "__main__":
    main()
