"""How often the contrast of a real scan is told from its image, each person by what was learned from the others.

    python -m benchmarks.contrast_guess [--real ../shared/real] [--print-typical]

ixi_2mm is never learned from. `--print-typical` prints what `siamese_med/brain/contrast.py` holds: the means and
standard deviations of the logarithms over all scans that may be learned from.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from siamese_med.brain.contrast import TissueBrightness, choose_contrast, measure_tissue_brightness
from siamese_med.brain.segmentation import segment_brain

NEVER_LEARNED = ("ixi_2mm",)
MIN_SPREAD = (0.10, 0.30, 0.12)
"""Few people and scanners say little about how much others vary: no standard deviation is below these."""
Typical = dict[str, tuple[TissueBrightness, TissueBrightness]]


def learn(scans: list[tuple[RealScan, TissueBrightness]]) -> Typical:
    """Mean and standard deviation of the logarithms in each contrast, every data set counting alike."""
    groups: dict[str, dict[str, list[TissueBrightness]]] = defaultdict(lambda: defaultdict(list))
    for scan, one in scans:
        groups[scan.contrast][scan.dataset].append(one)
    typical = {}
    for contrast, sets in groups.items():
        logs = [np.log(np.maximum(np.asarray(rows), 1e-2)) for rows in sets.values()]
        mean = np.mean([rows.mean(0) for rows in logs], 0)
        spread = np.sqrt(np.mean([((rows - mean) ** 2).mean(0) for rows in logs], 0))
        typical[contrast] = (TissueBrightness(*mean), TissueBrightness(*np.maximum(spread, MIN_SPREAD)))
    return typical


def main() -> None:
    """Print every scan's guess, and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--print-typical", action="store_true")
    given = parser.parse_args()
    measured = []
    for scan in list_real_scans(given.real):
        image = scan.read()
        one = measure_tissue_brightness(image, segment_brain(image))
        if one is not None:
            measured.append((scan, one))
    learned = [(scan, one) for scan, one in measured if scan.dataset not in NEVER_LEARNED]
    table: Counter[tuple[str, str, str]] = Counter()
    for scan, one in measured:
        others = [row for row in learned if row[0].person != scan.person]
        word, confidence = choose_contrast(one, learn(others))
        table[scan.dataset, scan.contrast, word] += 1
        values = " ".join(f"{value:.2f}" for value in one)
        print(f"{scan.name}: {word} ({confidence:.2f}); grey, fluid, bright {values}", flush=True)
    print("\n| data set | contrast | guessed | scans |\n|---|---|---|---|")
    for key, count in sorted(table.items()):
        print("| " + " | ".join(key) + f" | {count} |")
    right = sum(count for (_, contrast, word), count in table.items() if contrast == word)
    print(f"right: {right} of {len(measured)}")
    if given.print_typical:
        for contrast, parts in learn(learned).items():
            rows = ", ".join("TissueBrightness(" + ", ".join(f"{v:.2f}" for v in part) + ")" for part in parts)
            print(f'    "{contrast}": ({rows}),')


if __name__ == "__main__":
    main()
