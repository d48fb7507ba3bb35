"""Change against the truth of a simulated cohort: `python -m tests.benchmarks.change FOLDER --seed 11`.

A cohort of its own seed is simulated, so that it is not the one on which the residual's constants were chosen (seed 0).
Consecutive visits are paired; the reference is the model's own. Prints detection by kind and size, and false alarms.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from siamese_med import stages
from siamese_med.records import Study

BINS_MM3 = (20, 60, 150, 500, 2500, 1e9)


def main() -> None:
    """Simulate, score and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--patients", type=int, default=24)
    arguments.add_argument("--seed", type=int, default=11)
    given = arguments.parse_args()
    pairs = _scored(given.folder, given.patients, given.seed)
    quiet = pairs[pairs.change.isin(["rescan", "none"])]
    alarms = int((quiet.change_p < 0.05).sum())
    print(f"{len(pairs)} consecutive pairs of {given.patients} simulated patients, seed {given.seed}")
    print(f"false alarms at p < 0.05: {alarms} of {len(quiet)} pairs without change")
    for kind, changed in pairs[~pairs.index.isin(quiet.index)].groupby("change"):
        _print(str(kind), changed, quiet)
    lesions = pairs[pairs.change.str.contains("lesion")]
    for low, high in pairwise(BINS_MM3):
        _print(f"lesion {low:.0f}-{high:.0f} mm3", lesions[lesions.change_mm3.between(low, high)], quiet)


def _print(name: str, changed: pd.DataFrame, quiet: pd.DataFrame) -> None:
    if changed.empty:
        return
    above = (changed.change_z.to_numpy()[:, None] > quiet.change_z.to_numpy()).mean()
    found = int((changed.change_p < 0.05).sum())
    print(f"{name:24s} n {len(changed):3d}  found {found:3d}  AUC against no change {above:.3f}")


def _scored(folder: Path, patients: int, seed: int) -> pd.DataFrame:
    study = Study(folder / "data", folder / "reports")
    stages.ingest(stages.simulate(folder, patients, 3, seed), study)
    stages.prepare(study)
    stages.build_pairs(study)
    scores = stages.score(study, stages.train(study))
    return _with_truth(scores, stages.scans(study), pd.read_csv(folder / "truth.csv"))


def _with_truth(scores: pd.DataFrame, scans: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Truth is matched by what pseudonyms keep: the intervals between a patient's visits and the volumes' shapes."""
    known = {}
    for _, visits in truth.sort_values("visit").groupby("patient"):
        days = pd.to_datetime(visits.date)
        gaps = tuple((days - days.iloc[0]).dt.days)
        known[gaps] = list(zip(visits.change, visits.change_mm3, strict=True))
    rows = []
    for subject, mine in scans.groupby("subject"):
        ordered = mine.sort_values("date")
        days = pd.to_datetime(ordered.date)
        visits = known.get(tuple((days - days.iloc[0]).dt.days))
        if visits is None:
            continue
        for place in range(1, len(ordered)):
            pair = scores[(scores.scan_a == ordered.id.iloc[place - 1]) & (scores.scan_b == ordered.id.iloc[place])]
            if len(pair) and pair.subject_a.iloc[0] == subject and np.isfinite(pair.change_z.iloc[0]):
                change, volume = visits[place]
                rows.append({**pair.iloc[0].to_dict(), "change": change, "change_mm3": abs(volume)})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
