"""How many real scans of heads are laid on the template, and how well the brains then agree.

    python -m benchmarks.head_template [--real ../shared/real] [--datasets NAME ...] [--pictures FOLDER]

One line a scan: quality, correlation ratio, overlap of the brains, whether it is usable, and CPU-seconds of the
registration (without the segmentation, which comes second). `--pictures` writes each scan on the template's grid with
the outline of the template's brain and ventricles, to be looked at.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from siamese_med.brain.head_template import HeadAlignment, load_template_segmentation, register_to_head_template
from siamese_med.brain.segmentation import segment_brain
from siamese_med.brain.structures import Structure
from siamese_med.imaging import resampling
from siamese_med.imaging.volume import Volume
from siamese_med.preparation.scan_placement import shows_head

COLUMNS = 4


def measure(scan: RealScan) -> tuple[HeadAlignment, Volume]:
    """Print one scan's line."""
    image = scan.read()
    began = time.process_time()
    found = segment_brain(image)
    middle = time.process_time()
    one = register_to_head_template([image], [found], [scan.contrast])[0]
    ended = time.process_time()
    scales = np.linalg.svd(one.matrix[:3, :3])[1]
    print(
        f"| {scan.name} | {one.quality:.3f} | {one.correlation_ratio:.3f} | {one.brain_overlap:.3f} | "
        f"{scales.min():.2f} to {scales.max():.2f} | {'yes' if shows_head(one) else 'NO'} | {ended - middle:.2f} | "
        f"{middle - began:.2f} |",
        flush=True,
    )
    return one, image


def draw(scans: list[tuple[RealScan, HeadAlignment, Volume]], path: Path) -> None:
    """Each scan on the template's grid: three slices, outlines of the template's brain and ventricles."""
    import matplotlib.pyplot as plt

    template = load_template_segmentation()
    lateral = (Structure.LEFT_LATERAL_VENTRICLE, Structure.RIGHT_LATERAL_VENTRICLE)
    ventricles = np.isin(template.structures, lateral)
    rows = -(-len(scans) // COLUMNS)
    figure, axes = plt.subplots(rows, 3 * COLUMNS, figsize=(6 * COLUMNS, 2.3 * rows), squeeze=False)
    middle = np.argwhere(template.mask).mean(0).astype(int)
    for number, (scan, one, image) in enumerate(scans):
        laid = resampling.resample_volume(image, one.matrix @ template.affine, template.brain.shape)[0, 0].numpy()
        for part in range(3):
            place = axes[number // COLUMNS, 3 * (number % COLUMNS) + part]
            index = int(middle[part]) + (4 if part == 0 else 0)
            place.imshow(laid.take(index, part).T, origin="lower", cmap="gray", vmax=np.quantile(laid, 0.995))
            for mask, colour in ((template.mask, "red"), (ventricles, "yellow")):
                place.contour(mask.take(index, part).T, [0.5], colors=colour, linewidths=0.7)
        axes[number // COLUMNS, 3 * (number % COLUMNS)].set_title(f"{scan.name} {one.brain_overlap:.2f}", fontsize=7)
    for place in axes.flat:
        place.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=45)


def main() -> None:
    """Print the table, and what share was usable in each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--datasets", nargs="*", help="only these")
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [scan for scan in list_real_scans(given.real) if not given.datasets or scan.dataset in given.datasets]
    print("| scan | quality | correlation ratio | brains overlap | scales | usable | CPU-s | segmentation |")
    print("|---|---|---|---|---|---|---|---|")
    found = [(scan, *measure(scan)) for scan in chosen]
    usable = Counter(scan.dataset for scan, one, _ in found if shows_head(one))
    for dataset, count in Counter(scan.dataset for scan in chosen).items():
        print(f"{dataset}: {usable[dataset]} of {count} usable")
        if given.pictures:
            given.pictures.mkdir(parents=True, exist_ok=True)
            draw([one for one in found if one[0].dataset == dataset], given.pictures / f"{dataset}.png")
    print(f"all: {usable.total()} of {len(chosen)} usable ({usable.total() / max(1, len(chosen)):.1%})")


if __name__ == "__main__":
    main()
