"""Findings over series of visits that an outside program made: without any mask, by `siamese-med run` alone.

    python -m benchmarks.finding_series FOLDER [--real ../shared/real] [--series 4]

The series are those of `lesion_series`: bidsgate makes visits of a real head with lesions that grow, shrink, vanish,
appear or stay, and each visit is scanned by a simulated scanner of its own. `siamese-med run` gets a manifest with
dates and nothing else. What is done lies in FOLDER and is not done again.

Printed for each series: how many pairs are called changed; how many of the parts with a number touch no lesion; how
many marks of a lesion are under one number, and how many numbers stand for two lesions; and how many of the lesions
that changed, of 150 mm3 or more on some visit, are found in some pair.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.lesion_series import MIN_ML, Series, choose_heads, make_series
from benchmarks.real_scans_list import REAL
from siamese_med.imaging import resampling, volume
from siamese_med.imaging.change_parts import label_changed_parts
from siamese_med.imaging.volume import Volume
from siamese_med.study.pair_score import PairScore
from siamese_med.study.score_columns import read_scores
from siamese_med.study.vocabulary import Verdict

FIRST_VISIT = date(2018, 1, 1)
CHANGED = ("new", "vanished", "enlarging", "shrinking")
"""True fates that count as change; slower trends do not."""


def main() -> None:
    """Make and run the series that are lacking, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--series", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for number, head in enumerate(choose_heads(given.real, given.series)):
        folder = given.folder / str(number)
        if not (folder / "fates.json").is_file():
            write_series(make_series(head, number), folder)
        if not (folder / "study" / "reports" / "index.html").is_file():
            asked = [
                sys.executable,
                "-m",
                "siamese_med",
                "run",
                "m.csv",
                "--data",
                "study",
                "--reports",
                "study/reports",
            ]
            subprocess.run([*asked, "--no-prefect"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        show(f"{number} {head.name}", folder)


def write_series(series: Series, folder: Path) -> None:
    """Write the visits with a manifest, the true lesions of each on its grid, and what becomes of them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, visit in enumerate(series.visits):
        volume.write_volume(folder / f"v{number}.nii.gz", visit.scan)
        volume.write_volume(folder / f"t{number}.nii.gz", visit.truth)
        day = FIRST_VISIT + timedelta(days=int(365 * series.years[number]))
        rows.append(("S", number + 1, f"v{number}.nii.gz", day.isoformat(), "T1w"))
    with (folder / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("subject", "session", "path", "date", "contrast"), *rows])
    (folder / "fates.json").write_text(json.dumps({"fates": series.fates, "largest": series.largest_ml}))


def show(name: str, folder: Path) -> None:
    """Print the figures of one series."""
    known = json.loads((folder / "fates.json").read_text())
    (table,) = [path for path in (folder / "study" / "scores").glob("*.parquet") if "_owners" not in path.name]
    pairs = list(read_scores(pd.read_parquet(table)))
    changed = [pair for pair in pairs if pair.verdict == Verdict.CHANGED]
    marks: dict[int, Counter[int]] = defaultdict(Counter)
    parts = false = 0
    for pair in changed:
        for finding, lesion in match_parts(pair, folder):
            parts, false = parts + 1, false + (lesion is None)
            if lesion is not None:
                marks[lesion][finding] += 1
    kept = sum(max(count.values()) for count in marks.values())
    shared = Counter(finding for count in marks.values() for finding in count)
    large = [int(one) for one, fate in known["fates"].items() if fate in CHANGED and known["largest"][one] >= MIN_ML]
    print(
        f"{name}: {len(changed)} of {len(pairs)} pairs changed; {false} of {parts} parts touch no lesion; {kept} of "
        f"{sum(sum(count.values()) for count in marks.values())} marks under the number of their lesion, "
        f"{sum(count > 1 for count in shared.values())} numbers for two lesions; "
        f"{sum(one in marks for one in large)} of {len(large)} changed lesions found",
        flush=True,
    )


def match_parts(pair: PairScore, folder: Path) -> list[tuple[int, int | None]]:
    """The number of each finding of a pair, and the true lesion that most of it lies in, on either visit."""
    change_map = volume.read_volume(folder / "study" / str(pair.map))
    labels, numbers = label_changed_parts(change_map, pair.components)
    ways = {pair.scan_a: np.eye(4), pair.scan_b: np.asarray(pair.transform)}
    truth = [_read_truth(folder, scan, way, change_map) for scan, way in ways.items()]
    found = []
    for part, number in zip(pair.components, numbers, strict=True):
        if part.finding is None:
            continue
        met = np.concatenate([lesions[labels == number] for lesions in truth])
        met = met[met > 0]
        found.append((part.finding, int(np.bincount(met).argmax()) if len(met) else None))
    return found


def _read_truth(folder: Path, scan: str, way: NDArray[np.float64], grid: Volume) -> NDArray[np.int64]:
    """The true lesions of the visit of a scan on the grid of a change map."""
    visit = int(scan.split("_ses-")[1].split("_")[0]) - 1
    known = volume.read_volume(folder / f"t{visit}.nii.gz")
    lesions = Volume(known.voxels.astype(np.float32), known.affine)
    laid = resampling.resample_volume(lesions, way @ grid.affine, grid.voxels.shape, nearest=True)[0, 0].numpy()
    return np.asarray(laid.round(), dtype=np.int64)


if __name__ == "__main__":
    main()
