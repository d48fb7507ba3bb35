"""How well two scans of one person are laid on each other, on real patients, beside other programs.

    python -m benchmarks.pair_pose [--patients ../shared/real/open_ms] [--no-simpleitk] [--no-greedy] [--list]

Every pair of two scans of one patient, of one contrast or two, of one date or two; by us in both orders, by the other
programs in one, to save time. The truth is the data set's own registration, which is affine. The error is the mean
distance over places of the brain between where the truth and where the pair's pose leads them. `best rigid` is what the
truth itself leaves when it is made rigid. A pair counts as comparable from
`score.min_pose_quality` on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from benchmarks import open_ms, yardsticks
from benchmarks.open_ms import OPEN_MS
from siamese_med.imaging import symmetric_registration
from siamese_med.imaging.volume import Volume
from siamese_med.preparation.scan_placement import find_region
from siamese_med.study.config import ScoreConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

FAR_MM = 2.0
OTHER_PROGRAMS = ("SimpleITK", "greedy")
DRAWS = 2000


class Found(NamedTuple):
    """A pose, how sure its finder is of it (NaN where it does not say), and the CPU-seconds that it took."""

    matrix: Matrix
    quality: float
    seconds: float


Finder = Callable[[Volume, Volume], Found]


def main() -> None:
    """Print a table of the errors of all methods."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=Path, default=OPEN_MS)
    parser.add_argument("--no-simpleitk", action="store_true")
    parser.add_argument("--no-greedy", action="store_true")
    parser.add_argument("--list", action="store_true", help="print every pair of our own registration")
    given = parser.parse_args()
    torch.set_num_threads(1)
    regions = _Regions()
    methods: dict[str, Finder] = {
        "siamese-med": regions.register,
        "siamese-med, whole heads": lambda a, b: _ours(a, b, (None, None)),
        "the headers": lambda *_: Found(np.eye(4), np.nan, 0.0),
    }
    if not given.no_simpleitk:
        methods["SimpleITK"] = lambda a, b: _theirs(yardsticks.register_by_simpleitk, a, b)
    if not given.no_greedy:
        methods["greedy"] = lambda a, b: _theirs(yardsticks.register_by_greedy, a, b)
    patients = sorted(path.parent for path in given.patients.glob("*/brainmask.nii.gz"))
    rows = pd.DataFrame([row for patient in patients for row in measure_patient(patient, methods)])
    if given.list:
        print(rows[rows.method == "siamese-med"].drop(columns="method").round(3).to_string(index=False))
    print_table(rows)
    print(f"\na brain mask: {regions.seconds / max(1, len(regions.found)):.2f} CPU-seconds a scan, not counted above")


class _Regions:
    """Our own registration as the product runs it: inside the brains, which are found once for each scan."""

    def __init__(self) -> None:
        self.found: dict[int, Volume | None] = {}
        self.seconds = 0.0

    def register(self, a: Volume, b: Volume) -> Found:
        start = time.process_time()
        for scan in (a, b):
            if id(scan) not in self.found:
                self.found[id(scan)] = find_region(scan)
        self.seconds += time.process_time() - start
        return _ours(a, b, (self.found[id(a)], self.found[id(b)]))


def _ours(a: Volume, b: Volume, regions: tuple[Volume | None, Volume | None]) -> Found:
    start = time.process_time()
    pose = symmetric_registration.register_scan_pair(a, b, regions)
    return Found(pose.matrix, pose.quality, time.process_time() - start)


def _theirs(register: Callable[[Any, Any], Matrix], a: Volume, b: Volume) -> Found:
    images = yardsticks.convert_to_simpleitk(a), yardsticks.convert_to_simpleitk(b)
    start = time.process_time()
    return Found(register(*images), np.nan, time.process_time() - start)


def measure_patient(patient: Path, methods: dict[str, Finder]) -> list[dict[str, Any]]:
    """Measure every method on every pair of a patient's scans: one row each."""
    scans, places = list(open_ms.read_scans(patient)), open_ms.read_brain_points(patient)
    rows = []
    for a, b in permutations(scans, 2):
        about = {
            "pair": f"{a.patient} {a.contrast}{a.date} {b.contrast}{b.date}",
            "patient": a.patient,
            "contrast": "one" if a.contrast == b.contrast else "two",
            "date": "one" if a.date == b.date else "two",
        }
        start, goal = _move(a.from_common, places), _move(b.from_common, places)
        rigid = _move(fit_rigid(start, goal), start)
        rows.append({**about, "method": "best rigid", "mm": _distance(rigid, goal), "quality": np.nan, "seconds": 0.0})
        for name, find in methods.items():
            if name in OTHER_PROGRAMS and (a.date, a.contrast) > (b.date, b.contrast):
                continue
            found = find(a.scan, b.scan)
            error = _distance(_move(found.matrix, start), goal)
            rows.append({**about, "method": name, "mm": error, "quality": found.quality, "seconds": found.seconds})
    return rows


def fit_rigid(source: NDArray[np.float64], goal: NDArray[np.float64]) -> Matrix:
    """Fit the rigid matrix (4x4) that leads places (n, 3) nearest to their goals (Kabsch, 1976)."""
    left, _, right = np.linalg.svd((source - source.mean(0)).T @ (goal - goal.mean(0)))
    turn = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
    matrix = np.eye(4)
    matrix[:3, :3] = (left @ turn @ right).T
    matrix[:3, 3] = goal.mean(0) - matrix[:3, :3] @ source.mean(0)
    return matrix


def _move(matrix: Matrix, places: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(places @ matrix[:3, :3].T + matrix[:3, 3])


def _distance(found: NDArray[np.float64], goal: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(found - goal, axis=1).mean())


def print_table(rows: pd.DataFrame) -> None:
    """Print the errors of each method, over all pairs and by kind; intervals are 95 %, by a bootstrap over pairs."""
    patients = rows.patient.nunique()
    print(
        f"{rows.pair.nunique()} pairs, counted in both orders, of {patients} patients; mm: mean distance over the brain"
    )
    columns = ("method", "pairs", "n", "median mm", "p90 mm", "worst mm", "over 2 mm", "of them comparable")
    print("| " + " | ".join((*columns, "least quality", "CPU-s")) + " |\n" + "|---" * (len(columns) + 2) + "|")
    for name, part in rows.groupby("method", sort=False):
        _print_line(str(name), "all", part)
    ours = rows[rows.method == "siamese-med"]
    for column in ("contrast", "date"):
        for kind, part in ours.groupby(column):
            _print_line("siamese-med", f"{kind} {column}", part)


def _print_line(name: str, kind: str, part: pd.DataFrame) -> None:
    low, high = _interval(part.mm.to_numpy())
    far = part[part.mm > FAR_MM]
    comparable = "" if part.quality.isna().all() else str(int((far.quality >= ScoreConfig().min_pose_quality).sum()))
    least = "" if part.quality.isna().all() else f"{part.quality.min():.3f}"
    figures = [f"{part.mm.median():.2f} ({low:.2f}-{high:.2f})", f"{part.mm.quantile(0.9):.2f}", f"{part.mm.max():.2f}"]
    print(
        " | ".join([f"| {name}", kind, str(len(part)), *figures, str(len(far)), comparable, least])
        + f" | {part.seconds.mean():.2f} |"
    )


def _interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    drawn = np.median(rng.choice(np.asarray(values), (DRAWS, len(values))), axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    main()
