"""Which lesions of an expert's mask a reader of the patient's page gets to see.

    python -m benchmarks.lesions_shown --model DIR [--patients ../shared/real/open_ms] [--slices 8]

For every connected part of the mask (see `real_change` for the files): its volume, its centre in mm of the earlier
scan, the strongest evidence in it as a share of the strongest of all, and the slices of the page that pass through it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label
from torch import Tensor

from benchmarks.real_change import OPEN_MS, Marked, read
from siamese_med.network.model_folder import load_model
from siamese_med.reporting.render.slice_choice import order_slices
from siamese_med.scoring.change import detectors, pair_slices
from siamese_med.scoring.change.pair_slices import SliceChoice
from siamese_med.study.config import ScoreConfig


def shown(pair: Marked, evidence: Tensor, most: int) -> list[SliceChoice]:
    """The slices that the page has, in its order."""
    choices = pair_slices.choose_slices(evidence, pair.laid.space)
    return [choices[index] for index in order_slices([choice.chosen for choice in choices])][:most]


def lesions(pair: Marked) -> list[NDArray[np.int_]]:
    """Voxels of the mask's connected parts, the largest first."""
    labels, count = label(pair.marks.voxels > 0, structure=np.ones((3, 3, 3)))
    return sorted((np.argwhere(labels == number) for number in range(1, count + 1)), key=len, reverse=True)


def line(pair: Marked, voxels: NDArray[np.int_], evidence: Tensor, slices: list[SliceChoice]) -> str:
    """One lesion's row."""
    homogeneous = np.c_[voxels, np.ones(len(voxels))].T
    millimetres = pair.to_pair @ homogeneous
    places = np.round(np.linalg.inv(pair.laid.space.affine) @ millimetres)[:3].astype(int)
    inside = ((places >= 0) & (pair.laid.space.inside.shape > places.T).T).all(0)
    places = places[:, inside]
    through = [one for one in slices if one.index in places[pair_slices.PLANE_AXES[one.plane]]]
    own = float(evidence[tuple(places)].abs().max()) if places.size else 0.0
    size = len(voxels) * float(pair.marks.spacing_mm.prod()) / 1000
    centre = (pair.laid.matrix_earlier @ millimetres).mean(1)[:3]
    seen = ", ".join(f"{one.plane} ({one.chosen})" for one in through) or "none"
    share = own / float(evidence.abs().max())
    return f"| {size:.3f} | ({', '.join(f'{mm:.0f}' for mm in centre)}) | {share:.2f} | {seen} |"


def main() -> None:
    """Print a table a patient."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--patients", type=Path, default=OPEN_MS)
    parser.add_argument("--slices", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    chosen = load_model(given.model)
    detector = detectors.build_model_detector(chosen.info, given.model, chosen.measures(ScoreConfig()))
    for patient in sorted(path.parent for path in given.patients.glob("*/gt.nii.gz")):
        pair = read(patient)
        evidence = detector(pair.laid, pair.laid.space.spacing_mm)
        slices = shown(pair, evidence, given.slices)
        rows = [line(pair, voxels, evidence, slices) for voxels in lesions(pair)]
        visible = sum(not row.endswith("| none |") for row in rows)
        print(f"{pair.name}: {visible} of {len(rows)} lesions in the {len(slices)} slices of the page\n")
        print("| ml | centre (mm) | evidence, of the strongest | slices through it |\n|---|---|---|---|")
        print("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
