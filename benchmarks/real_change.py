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
from benchmarks.open_ms import read_itk_affine
from benchmarks.planted import SPACING_MM, Facts, Planted
from benchmarks.readings import Reading
from siamese_med.imaging import resampling, volume
from siamese_med.imaging.volume import Volume
from siamese_med.preparation.scan_placement import find_region
from siamese_med.scoring.change.pair_registration import RegisteredPair, register_pair

Matrix = NDArray[np.float64]

OPEN_MS = Path("../shared/real/open_ms")


@dataclass(frozen=True)
class Marked:
    """A laid pair, what an expert marked and the brain on the grid of the common space, and the way there.

    to_pair: 4x4, from voxels of the marks to the pair's mm.
    """

    name: str
    laid: RegisteredPair
    marks: Volume
    brain: Volume
    to_pair: Matrix


def read(folder: Path) -> Marked:
    """One patient's pair, laid by our own alignment."""
    earlier, later = (volume.read_volume(folder / f"study{number}_FLAIR.nii.gz") for number in (1, 2))
    laid = register_pair(earlier, later, (find_region(earlier), find_region(later)), SPACING_MM)
    marks, brain = (volume.read_volume(folder / f"{name}.nii.gz") for name in ("gt", "brainmask"))
    to_earlier = read_itk_affine(folder / "study1_FLAIR_to_common_space.txt")
    return Marked(folder.name, laid, marks, brain, np.linalg.inv(laid.matrix_earlier) @ to_earlier @ marks.affine)


def on_marks(image: Tensor, pair: Marked) -> Tensor:
    """An image (i, j, k) of the pair's grid on the grid of the marks, linearly; zero beyond."""
    laid = Volume(image.float().numpy(), pair.laid.space.affine)
    return resampling.resample_volume(laid, pair.to_pair, pair.marks.voxels.shape)[0, 0]


def truth(pair: Marked) -> Planted:
    """The marks as the truth of a pair, inside the brain where the pair was compared."""
    inside = torch.from_numpy(pair.brain.voxels > 0) & (on_marks(pair.laid.inside, pair) > 0.5)
    marked = torch.from_numpy((pair.marks.voxels > 0).astype(np.float32)) * inside
    none = torch.zeros_like(marked)
    laid = replace(pair.laid, earlier=none, later=none, a=none, b=none, inside=inside)
    volume_mm3 = float(marked.sum()) * float(pair.marks.spacing_mm.prod())
    facts = Facts(
        pair.name, pair.name, "expert", volume_mm3, 1, 0, "FLAIR", ("earlier", "later"), laid.quality, laid.overlap
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
    parser.add_argument("--model", type=Path, nargs="+", required=True)
    parser.add_argument("--patients", type=Path, default=OPEN_MS)
    parser.add_argument("--json", type=Path, help="where to write all readings")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rivals = change.rivals(given.folder, given.model, None)
    kept = {}
    for patient in sorted(path.parent for path in given.patients.glob("*/gt.nii.gz")):
        pair = read(patient)
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
