"""Change on real pairs whose change an expert marked, every detector on the same registration.

    python -m benchmarks.real_change FOLDER --model DIR [DIR DIR] [--patients ../shared/real/open_ms]

FOLDER is that of `benchmarks.planted`: thresholds come from its validation pairs, boosting from its learning
pairs, so nothing is chosen on the real ones. A patient is a folder with study1_FLAIR, study2_FLAIR, gt and brainmask
(.nii.gz; the last two in a common space) and study1_FLAIR_to_common_space.txt, an ITK affine. Maps are brought to that
space; inside the brain mask: average precision over the voxels, lesions found, parts of the map that are none.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import change, readings
from benchmarks.change import Rival
from benchmarks.planted import SPACING_MM, Facts, Planted
from benchmarks.readings import Reading
from siamese_med.imaging import registration, resampling, volume
from siamese_med.imaging.volume import Volume
from siamese_med.scoring.change.pair_registration import PairSpace, RegisteredPair, build_pair_space, register_pair

Matrix = NDArray[np.float64]

OPEN_MS = Path("../shared/real/open_ms")
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK's millimetres run to the left, the back and the head."""


@dataclass(frozen=True)
class Marked:
    """A laid pair, what an expert marked and the brain on the grid of the common space, and the way there.

    to_pair: 4x4, from voxels of the marks to the pair's mm.
    """

    name: str
    laid: RegisteredPair
    space: PairSpace
    marks: Volume
    brain: Volume
    to_pair: Matrix


def read(folder: Path, template: Volume) -> Marked:
    """One patient's pair, laid by our own alignment."""
    earlier, later = (volume.read_volume(folder / f"study{number}_FLAIR.nii.gz") for number in (1, 2))
    starts = [found.matrix for found in registration.register_scans([earlier, later], template)]
    space = build_pair_space(template, SPACING_MM)
    laid = register_pair(earlier, later, (starts[0], starts[1]), space)
    marks, brain = (volume.read_volume(folder / f"{name}.nii.gz") for name in ("gt", "brainmask"))
    to_earlier = itk_affine(folder / "study1_FLAIR_to_common_space.txt")
    return Marked(
        folder.name, laid, space, marks, brain, np.linalg.inv(laid.matrix_earlier) @ to_earlier @ marks.affine
    )


def itk_affine(path: Path) -> Matrix:
    """4x4 of an ITK affine in text, RAS+ mm: from the common space to the scan's, the way resampling goes."""
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ": " in line)
    numbers = np.array(lines["Parameters"].split(), dtype=float)
    centre = np.array(lines["FixedParameters"].split(), dtype=float)
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    return np.asarray(LPS @ matrix @ LPS)


def on_marks(image: Tensor, pair: Marked) -> Tensor:
    """An image (i, j, k) of the pair's grid on the grid of the marks, linearly; zero beyond."""
    laid = Volume(image.float().numpy(), pair.space.affine)
    return resampling.resample_volume(laid, pair.to_pair, pair.marks.voxels.shape)[0, 0]


def truth(pair: Marked) -> Planted:
    """The marks as the truth of a pair, inside the brain where the pair was compared."""
    inside = torch.from_numpy(pair.brain.voxels > 0) & (on_marks(pair.laid.inside, pair) > 0.5)
    marked = torch.from_numpy((pair.marks.voxels > 0).astype(np.float32)) * inside
    none = torch.zeros_like(marked)
    laid = replace(pair.laid, earlier=none, later=none, a=none, b=none, inside=inside)
    volume_mm3 = float(marked.sum()) * float(pair.marks.spacing_mm.prod())
    facts = Facts(
        pair.name, pair.name, "expert", volume_mm3, 1, 0, "FLAIR", ("earlier", "later"), 0.0, laid.quality, laid.overlap
    )
    return Planted(facts, laid, marked)


def measure(pair: Marked, known: Planted, rivals: Sequence[Rival]) -> dict[str, Reading]:
    """Every detector's reading of one pair: it sees the whole body, the figures count the brain alone."""
    found = {}
    for rival in rivals:
        evidence = on_marks(rival.detector(pair.laid, SPACING_MM), pair) * known.overlay.inside
        found[rival.name] = readings.of_pair(known, evidence)
    return found


def table(found: dict[str, Reading], rivals: Sequence[Rival]) -> str:
    """One line a detector; hits at the threshold that its validation pairs fixed."""
    lines = [
        "| detector | average precision | peak inside | lesions found | parts that are none | at |",
        "|---|---|---|---|---|---|",
    ]
    for rival in rivals:
        one, place = found[rival.name], rival.settings.place
        peak = "yes" if one.peak_inside else "no"
        lines.append(
            f"| {rival.name} | {one.precision or 0:.3f} | {peak} | {one.found[place]} of {one.lesions} "
            f"| {one.false[place]} | {rival.settings.threshold:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print a table a patient."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="the first one's template is used")
    parser.add_argument("--patients", type=Path, default=OPEN_MS)
    parser.add_argument("--json", type=Path, help="where to write all readings")
    given = parser.parse_args()
    torch.set_num_threads(1)
    template = volume.read_volume(given.model[0] / "template.nii.gz")
    rivals = change.rivals(given.folder, given.model, None)
    kept = {}
    for patient in sorted(path.parent for path in given.patients.glob("*/gt.nii.gz")):
        pair = read(patient, template)
        known = truth(pair)
        found = measure(pair, known, rivals)
        share = float(known.truth.sum()) / max(1, int(known.overlay.inside.sum()))
        print(
            f"{pair.name}: {known.facts.volume_mm3 / 1000:.2f} ml marked ({share:.4f} of the brain), "
            f"quality {known.facts.quality:.3f}, overlap {known.facts.overlap:.2f}\n\n{table(found, rivals)}\n"
        )
        kept[pair.name] = {name: asdict(one) for name, one in found.items()}
    if given.json:
        given.json.write_text(json.dumps(kept, indent=2, default=np.ndarray.tolist))


if __name__ == "__main__":
    main()
