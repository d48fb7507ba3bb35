"""Defacing of real heads: what is left of faces, brain voxels touched, change measures with and without, time.

    python -m benchmarks.defacing [../shared/real] [--every N] [--pairs] [--only NAME ...] [--pictures FOLDER]

Of every scan: whether a face may be removed for sure, the share of voxels with signal in the face before and after, and
how many voxels of a known brain mask changed (masks of experts, or what the source left of a brain-extracted scan; the
brain that the network finds where there is none). A face is looked for apart from what removed it: the whole head, not
the brain, is registered to the template, and LANDMARKS of the template are looked at: one is found where a tenth of
the voxels about it show signal. `--pairs` compares the two dates of every patient with two, and each head with a face
with a simulated rescan of it, as `siamese-med compare` does with the starter model, with and without faces.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.brain_masks import load_known_mask
from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from siamese_med.brain import defacing, head_template
from siamese_med.brain.segmentation import BrainSegmentation, segment_brain
from siamese_med.imaging import registration, resampling, volume
from siamese_med.imaging.volume import Volume
from siamese_med.pipeline import single_scans
from siamese_med.simulation import rescan
from siamese_med.study.config import Config

if TYPE_CHECKING:
    from numpy.typing import NDArray

LANDMARKS = {
    "nose": (0, 108, -40), "right eye": (32, 72, -18), "left eye": (-32, 72, -18), "right cheek": (45, 75, -55),
    "left cheek": (-45, 75, -55), "mouth": (0, 95, -85),
}  # fmt: skip
"""Places of the template in mm; only those inside the field of view count."""
LANDMARK_MM, FOUND_SHARE, SIGNAL_SHARE = 8.0, 0.1, 0.08
"""Radius about a landmark, share of its voxels with signal that makes it found, and share of the range that is one."""
FACES = "ixi_2mm"
"""The data set whose heads have faces."""


def find_landmarks(scan: Volume, place: NDArray[np.float64], floor: float) -> dict[str, bool]:
    """Which landmarks of the face a scan shows, under a matrix from mm of the template to mm of the scan."""
    to_template = np.linalg.inv(place) @ scan.affine
    grid = np.stack(np.meshgrid(*map(np.arange, scan.voxels.shape), indexing="ij"), -1) @ to_template[:3, :3].T
    found = {}
    for name, where in LANDMARKS.items():
        near = ((grid + to_template[:3, 3] - where) ** 2).sum(-1) < LANDMARK_MM**2
        if near.sum() * abs(np.linalg.det(to_template[:3, :3])) > 0.7 * 4 / 3 * np.pi * LANDMARK_MM**3:
            found[name] = bool((scan.voxels[near] > floor).mean() > FOUND_SHARE)
    return found


def place_by_whole_head(scan: Volume, found: BrainSegmentation, contrast: str) -> NDArray[np.float64]:
    """Register the whole head to the template, without the brain mask but for the start."""
    word = contrast if contrast in head_template.TEMPLATE_CONTRASTS else head_template.UNKNOWN_CONTRAST_STANDIN
    guess = head_template.guess_from_centroids(head_template.load_template_segmentation(), found)
    level = registration.RegistrationLevel(1.5, 20_000, 15, 4.0)
    (laid,) = registration.register_scans(
        [scan], head_template.load_head_template(word), (level,), [guess], transform="affine"
    )
    return np.asarray(laid.matrix)


def measure_scan(one: RealScan) -> tuple[list[str], Volume, defacing.FacelessScan | None]:
    """One line of the table, the scan, and what was made of it."""
    scan = volume.reorient_to_ras(one.read())
    began = time.process_time()
    faceless = defacing.remove_face(scan, one.contrast)
    seconds = time.process_time() - began
    if faceless is None:
        return [one.name, "kept out", "", "", "", "", f"{seconds:.1f}"], scan, None
    known, found = load_known_mask(one, scan), segment_brain(scan)
    if known is None:
        there = Volume(found.mask.astype(np.float32), found.affine)
        mask = resampling.resample_volume(there, scan.affine, scan.voxels.shape)[0, 0].numpy() > 0.5
    else:
        mask = np.asarray(known.voxels > 0.5)
    low, top = np.quantile(scan.voxels, [0.005, 0.999])
    floor = float(low + SIGNAL_SHARE * (top - low))
    signal = [float((voxels[faceless.removed] > floor).mean()) for voxels in (scan.voxels, faceless.scan.voxels)]
    place = place_by_whole_head(scan, found, one.contrast)
    before, after = (find_landmarks(it, place, floor) for it in (scan, faceless.scan))
    touched = int((mask & (faceless.scan.voxels != scan.voxels)).sum())
    lost = [name for name, there in after.items() if there]
    return [
        one.name, "removed", f"{signal[0]:.2f} -> {signal[1]:.2f}",
        f"{sum(before.values())} -> {len(lost)} of {len(before)} {' '.join(lost)}", f"{touched} of {int(mask.sum())}",
        "network" if known is None else "known", f"{seconds:.1f}",
    ], scan, faceless  # fmt: skip


def list_pairs(scans: Sequence[RealScan]) -> Iterator[tuple[str, RealScan, RealScan | None]]:
    """Two dates of one person and contrast; a head with a face and None, for a simulated rescan."""
    for a, b in combinations(scans, 2):
        if (a.person, a.contrast) == (b.person, b.contrast):
            yield f"{a.person} {a.contrast}", a, b
    for one in scans:
        if one.dataset == FACES:
            yield f"{one.person} and a simulated rescan", one, None


def rescan_head(scan: Volume, seed: int) -> Volume:
    """Scan a head again, on another simulated scanner and in another pose."""
    rng = np.random.default_rng(seed)
    machine = rescan.draw_rescan_scanners(scan.spacing_mm, rng)[0]
    return rescan.acquire_rescan(rescan.extract_body(scan), machine, rng).volume


def compare_pairs(pairs: Iterable[tuple[str, RealScan, RealScan | None]]) -> None:
    """Print what `compare` says of each pair with faces and without."""
    from siamese_med.network.starter_model import find_starter_model

    chosen = single_scans.load_model_for_query(find_starter_model(), Config())
    print("\n| pair | verdict | z | growth ml | smallest detectable ml |\n|---|---|---|---|---|")
    for number, (name, a, b) in enumerate(pairs):
        first = volume.reorient_to_ras(a.read())
        second = volume.reorient_to_ras(b.read()) if b else rescan_head(first, number)
        faceless = [defacing.remove_face(scan, a.contrast) for scan in (first, second)]
        if None in faceless:
            print(f"| {name} | kept out | | | |")
            continue
        said = []
        for scans in ((first, second), [one.scan for one in faceless if one]):
            with tempfile.TemporaryDirectory() as folder:
                paths = [Path(folder) / f"{side}_{a.contrast}.nii.gz" for side in ("a", "b")]
                for path, scan in zip(paths, scans, strict=True):
                    volume.write_volume(path, scan)
                said.append(single_scans.measure_two_scans(*paths, chosen, Config()))
        print(f"| {name} | {' | '.join(_both(*said))} |", flush=True)


def _both(before: Any, after: Any) -> list[str]:
    rows = [
        (facts["verdict"], facts["change"]["z"], facts["growth"]["ml"], facts["change"]["smallest_detectable_ml"])
        for facts in (before, after)
    ]
    return [f"{_text(one)} -> {_text(other)}" for one, other in zip(*rows, strict=True)]


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def draw(scan: Volume, faceless: defacing.FacelessScan, path: Path) -> None:
    """Slices before and after, and the surface seen from the front and the side, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure((12, 6))
    low, top = np.quantile(scan.voxels, [0.005, 0.995])
    for row, voxels in enumerate((scan.voxels, faceless.scan.voxels)):
        grey = np.clip((voxels - low) / (top - low), 0, 1)
        body = grey > SIGNAL_SHARE
        middle = grey.shape[0] // 2
        views = [
            (grey[middle].T, (2, 1)), (grey[:, :, grey.shape[2] // 3].T, (1, 0)),
            ((body[:, ::-1].argmax(1) * body.any(1)).T, (2, 0)), ((body[::-1].argmax(0) * body.any(0)).T, (2, 1)),
        ]  # fmt: skip
        for column, (view, (up, across)) in enumerate(views):
            axes = figure.add_subplot(2, 4, 4 * row + column + 1)
            aspect = float(scan.spacing_mm[up] / scan.spacing_mm[across])
            axes.imshow(view, cmap="gray" if column < 2 else "magma_r", origin="lower", aspect=aspect)
            axes.set_axis_off()
    figure.savefig(path, dpi=60)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 0 where no landmark is found after defacing and no brain voxel was touched."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path, nargs="?", default=REAL)
    parser.add_argument("--every", type=int, default=1, help="take every Nth scan of the brain-extracted set")
    parser.add_argument("--only", nargs="+", help="data sets")
    parser.add_argument("--pairs", action="store_true", help="compare pairs, and leave the scans out")
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    scans = [one for one in list_real_scans(given.real) if not given.only or one.dataset in given.only]
    if given.pairs:
        compare_pairs(list_pairs(scans))
        return 0
    extracted = [one for one in scans if one.dataset == "ds002748"]
    left = {one.name for one in extracted} - {one.name for one in extracted[:: given.every]}
    print("| scan | face | signal in it | landmarks | brain voxels touched | mask | CPU-s |")
    print("|---|---|---|---|---|---|---|")
    wrong = 0
    for one in (scan for scan in scans if scan.name not in left):
        row, scan, faceless = measure_scan(one)
        wrong += faceless is not None and not (row[3].split(" of ")[0].endswith("-> 0") and row[4].startswith("0 "))
        print(f"| {' | '.join(row)} |", flush=True)
        if given.pictures and faceless:
            given.pictures.mkdir(parents=True, exist_ok=True)
            draw(scan, faceless, given.pictures / f"{one.name.replace(' ', '_')}.png")
    print(f"\n{wrong} scans with a landmark left or a brain voxel touched")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
