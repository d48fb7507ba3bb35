"""Lesions followed over series of visits that an outside program made, beside another outside program.

    python -m benchmarks.lesion_series --json OUT [--real ../shared/real] [--series 20]
    python -m benchmarks.lesion_series --json OUT --show

bidsgate (of the `bench` extra) plants lesions in a real T1w head and makes a series of five or six visits over two or
three years of it: lesions grow, shrink, vanish, appear or stay, and the brain shrinks. Each visit is scanned by a
simulated scanner of its own, in its own pose and on its own grid, and so are the true masks. The product registers the
scans as it registers pairs, and follows the masks. lesiontrack gets the same masks, brought to the grid of the first
visit by the same registrations, and compares the last visit with the first, as it does. It is installed beside the
`bench` extra by `pip install --no-deps lesiontrack==0.2.0`, since it names a program under the GPL among what it needs.

Printed, for even and odd series apart, since the constants were chosen on the even ones: how many of the marks of a
lesion are under its number; how many fates since the first visit are right; how many lesions keep their numbers when a
visit is inserted, and when every mask is drawn a voxel larger. A true fate is bidsgate's own: that of its measured
volumes on its own grid, by the limits of lesiontrack, 9 % a year for growth and 4 % for none.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from siamese_med.imaging import resampling, volume
from siamese_med.imaging.volume import Volume
from siamese_med.preparation.scan_placement import find_region
from siamese_med.scoring.change.pair_registration import register_pair
from siamese_med.scoring.lesions import lesion_table
from siamese_med.scoring.lesions.followed_scans import ScanWithLesions
from siamese_med.scoring.lesions.lesion_table import PatientJob
from siamese_med.simulation import rescan
from siamese_med.study.config import ScoreConfig
from siamese_med.study.lesion import LesionState
from siamese_med.study.pair_score import PairScore
from siamese_med.study.thresholds import MIN_LESION_VOXELS

SPACING_MM = ScoreConfig().spacing_mm
DATASETS = ("ds002748", "ds000011")
TIMES = ((0.0, 0.5, 1.0, 1.5, 2.0), (0.0, 0.5, 1.0, 1.5, 2.0, 3.0))
MARGIN_VOXELS = 12
SEED = 31
MIN_ML = 0.15
SMALLEST_MARK_VOXELS = MIN_LESION_VOXELS
"""Smaller marks are not scored."""
PRESENT = ("enlarging", "shrinking", "stable")


@dataclass(frozen=True)
class Visit:
    """One scan of a series, and the numbers of the true lesions on its grid."""

    scan: Volume
    truth: Volume


@dataclass(frozen=True)
class Series:
    """A series: its visits, the true fate of each lesion, and its largest true volume in ml."""

    name: str
    visits: list[Visit]
    years: list[float]
    fates: dict[int, str]
    largest_ml: dict[int, float]


def main() -> None:
    """Make the series that are lacking, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--series", type=int, default=20)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = [json.loads(line) for line in given.json.read_text().splitlines()] if given.json.is_file() else []
    known = {record["number"] for record in done}
    heads = choose_heads(given.real, given.series)
    for number, head in enumerate(heads):
        if number in known or given.show:
            continue
        began = time.process_time()
        record = {"number": number, **measure_series(make_series(head, number))}
        done.append(record)
        with given.json.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(f"{number}: {head.name}, {time.process_time() - began:.0f} CPU-s", flush=True)
    for name, kept in (("even series", 0), ("odd series", 1)):
        show(name, [record for record in done if record["number"] % 2 == kept])


def choose_heads(folder: Path, count: int) -> list[RealScan]:
    """The T1w heads with fine voxels, over and over until there are as many as series."""
    fine = [
        one for one in list_real_scans(folder) if one.dataset in DATASETS and one.contrast == "T1w" and _is_fine(one)
    ]
    return [fine[number % len(fine)] for number in range(count)]


def _is_fine(scan: RealScan) -> bool:
    return float(scan.read().spacing_mm.max()) < 1.5


def make_series(head: RealScan, seed: int) -> Series:
    """Plant lesions in a head, let bidsgate make the visits, and scan each with a scanner of its own."""
    from bidsgate.inject_lesions import LesionSpec, inject
    from bidsgate.longphantom.core import Design, build

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        source, brain = _crop_to_brain(head)
        paths = {name: folder / f"{name}.nii.gz" for name in ("t1", "brain", "with", "flair", "labels")}
        volume.write_volume(paths["t1"], source)
        volume.write_volume(paths["brain"], Volume(brain.astype(np.uint8), source.affine))
        for lesions in (20, 15, 10):
            try:
                spec = LesionSpec(n=lesions, seed=seed, min_gap_mm=5.0)
                inject(paths["t1"], None, paths["with"], None, paths["labels"], folder / "t.json", spec, paths["brain"])
                break
            except ValueError:
                continue
        design = Design(
            times=TIMES[seed % 2], n_enlarge=5, n_shrink=4, n_resolve=4, n_new=6, min_voxels=20, seed=SEED + seed
        )
        table = build(paths["with"], paths["with"], paths["labels"], paths["brain"], folder / "series", design)
        rng = np.random.default_rng([SEED, seed])
        visits = [_scan_visit(folder / "series" / f"visit-{n:02d}", rng) for n in range(len(design.times))]
    largest = table.groupby("lesion").volume_mm3.max() / 1000
    return Series(
        f"{head.name} {seed}",
        visits,
        list(design.times),
        _read_fates(table),
        {int(k): float(v) for k, v in largest.items()},
    )


def _crop_to_brain(head: RealScan) -> tuple[Volume, NDArray[np.bool_]]:
    """A head around its brain, and the brain on its grid: the outside program warps every voxel many times."""
    source = volume.reorient_to_ras(head.read())
    region = find_region(source, head.contrast)
    if region is None:
        raise ValueError(f"no brain in {head.name}")
    brain = resampling.resample_volume(region, source.affine, source.voxels.shape)[0, 0].numpy() > 0.5
    places = np.argwhere(brain)
    low = np.maximum(places.min(0) - MARGIN_VOXELS, 0)
    box = tuple(slice(a, b) for a, b in zip(low, places.max(0) + MARGIN_VOXELS, strict=True))
    affine = source.affine.copy()
    affine[:3, 3] = (source.affine @ [*low, 1])[:3]
    return Volume(np.asarray(source.voxels[box], dtype=np.float32), affine), brain[box]


def _scan_visit(folder: Path, rng: np.random.Generator) -> Visit:
    body = rescan.extract_body(volume.read_volume(folder / "T1w.nii.gz"))
    machines = rescan.draw_rescan_scanners(body.spacing_mm, rng)
    taken = rescan.acquire_rescan(
        body, machines[rng.integers(len(machines))], rng, contrast=rescan.draw_contrast_levels(rng)
    )
    truth = volume.read_volume(folder / "truth_labels.nii.gz")
    grid = taken.to_anatomy @ taken.volume.affine
    labels = resampling.resample_volume(
        Volume(truth.voxels.astype(np.float32), truth.affine), grid, taken.volume.voxels.shape, nearest=True
    )[0, 0].numpy()
    return Visit(taken.volume, Volume(labels.round().astype(np.int32), taken.volume.affine))


def _read_fates(table: Any) -> dict[int, str]:
    """True fates by bidsgate's rule: of its measured volumes on the first and last visit, by lesiontrack's limits."""
    from lesiontrack.config import TrackParams
    from lesiontrack.tracking import classify_rate

    first, last = (table[table.visit == n].set_index("lesion") for n in (table.visit.min(), table.visit.max()))
    years = float(table.time_years.max() - table.time_years.min())
    fates = {}
    for lesion in first.index:
        was, now = float(first.volume_mm3[lesion]), float(last.volume_mm3[lesion])
        ever = table[(table.lesion == lesion) & (table.volume_mm3 > 0)]
        if was == 0:
            fates[int(lesion)] = "new" if len(ever) else "never"
        elif now == 0:
            fates[int(lesion)] = "vanished"
        else:
            fates[int(lesion)] = str(classify_rate((now - was) / was * 100 / years, round(now - was), TrackParams()))
    return fates


def measure_series(series: Series) -> dict[str, Any]:
    """Follow a series in all ways, and return what is printed of it."""
    transforms = register_visits(series)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = lesion_table.follow_patient(write_job(folder / "whole", series, transforms, range(len(series.visits))))
        middle = len(series.visits) // 2
        others = [n for n in range(len(series.visits)) if n != middle]
        before = lesion_table.follow_patient(write_job(folder / "insert", series, transforms, others))
        after = lesion_table.follow_patient(write_job(folder / "insert", series, transforms, range(len(series.visits))))
        wider = lesion_table.follow_patient(
            write_job(folder / "whole", series, transforms, range(len(series.visits)), wider=True)
        )
    of_truth = match_truth(series, rows)
    return {
        "name": series.name,
        "visits": len(series.visits),
        "largest_ml": series.largest_ml,
        "marks": score_numbers(of_truth, series),
        "fates": score_fates(of_truth, rows, series),
        "inserted": count_kept(match_truth(series, before), match_truth(series, after)),
        "drawn larger": count_kept(of_truth, match_truth(series, wider)),
        "lesiontrack": score_lesiontrack(series, transforms),
    }


def register_visits(series: Series) -> list[NDArray[np.float64]]:
    """Register each visit to the first one as a pair: 4x4, mm of the first to mm of the visit."""
    regions = [find_region(visit.scan, "T1w") for visit in series.visits]
    found = [np.eye(4)]
    for visit, region in zip(series.visits[1:], regions[1:], strict=True):
        pair = register_pair(series.visits[0].scan, visit.scan, (regions[0], region), SPACING_MM)
        found.append(pair.matrix_later @ np.linalg.inv(pair.matrix_earlier))
    return found


def write_job(
    folder: Path, series: Series, transforms: Sequence[NDArray[np.float64]], which: Sequence[int], wider: bool = False
) -> PatientJob:
    """Write the masks of some visits, as a study would have them, and the pairs with the first one."""
    folder.mkdir(exist_ok=True)
    scans, pairs = [], []
    for number in which:
        mask = series.visits[number].truth.voxels > 0
        if wider:
            mask = ndimage.binary_dilation(mask)
        name = f"ses-{number:02d}"
        volume.write_volume(
            folder / f"{name}.nii.gz", Volume(mask.astype(np.int16), series.visits[number].truth.affine)
        )
        image = f"{name}_scan.nii.gz"
        volume.write_volume(folder / image, series.visits[number].scan)
        scans.append(ScanWithLesions(name, name, "T1w", f"{name}.nii.gz", image, name))
        if number:
            rows = tuple(tuple(row) for row in transforms[number].tolist())
            pairs.append(PairScore(scan_a="ses-00", scan_b=name, transform=rows))
    return PatientJob(folder, "sub-series", tuple(scans), tuple(pairs))


def match_truth(series: Series, rows: Sequence[LesionState]) -> dict[tuple[int, str], int | None]:
    """Find the number under which each true lesion is marked on each scan; None where it is marked and has none.

    The product's lesions are known by their centres: the true lesion is the one that most of the voxels around a
    centre belong to.
    """
    found: dict[tuple[int, str], int | None] = {}
    for number, visit in enumerate(series.visits):
        name = f"ses-{number:02d}"
        here = [row for row in rows if row.scan == name and row.lesion is not None and row.centre_mm]
        if not here:
            continue
        labels, _ = ndimage.label(visit.truth.voxels > 0, np.ones((3, 3, 3)))
        centres = {row.lesion: np.asarray(row.centre_mm, dtype=float) for row in here}
        for truth in np.unique(visit.truth.voxels[visit.truth.voxels > 0]):
            places = np.argwhere(visit.truth.voxels == truth)
            if len(places) < SMALLEST_MARK_VOXELS:
                continue
            part = np.bincount(labels[tuple(places.T)]).argmax()
            whole = np.argwhere(labels == part).mean(0)
            centre = visit.truth.affine[:3, :3] @ whole + visit.truth.affine[:3, 3]
            nearest = min(centres, key=lambda one: float(np.linalg.norm(centres[one] - centre)))
            close = float(np.linalg.norm(centres[nearest] - centre)) < 3
            found[int(truth), name] = nearest if close else None
    return found


def score_numbers(of_truth: Mapping[tuple[int, str], int | None], series: Series) -> list[tuple[float, int, int]]:
    """Of each true lesion: its largest volume, how many marks it has, and how many of them are under one number."""
    marks: dict[int, list[int | None]] = defaultdict(list)
    for (truth, _), number in of_truth.items():
        marks[truth].append(number)
    return [
        (series.largest_ml[truth], len(numbers), Counter(numbers).most_common(1)[0][1])
        for truth, numbers in marks.items()
    ]


def score_fates(
    of_truth: Mapping[tuple[int, str], int | None], rows: Sequence[LesionState], series: Series
) -> list[tuple[float, str, str]]:
    """Of each true lesion: its largest volume, its true fate since the first visit, and the product's."""
    told = {row.lesion: str(row.fate_since_first) for row in rows if row.lesion is not None}
    usual: dict[int, int | None] = {}
    for truth in {truth for truth, _ in of_truth}:
        usual[truth] = Counter(number for (one, _), number in of_truth.items() if one == truth).most_common(1)[0][0]
    return [
        (series.largest_ml[truth], series.fates[truth], told.get(number, "lost")) for truth, number in usual.items()
    ]


def count_kept(
    before: Mapping[tuple[int, str], int | None], after: Mapping[tuple[int, str], int | None]
) -> tuple[int, int]:
    """How many marks keep their number, of those that both runs have."""
    both = before.keys() & after.keys()
    return sum(before[one] == after[one] for one in both), len(both)


def score_lesiontrack(series: Series, transforms: Sequence[NDArray[np.float64]]) -> list[tuple[float, str, str]]:
    """What lesiontrack says of each true lesion, the last visit against the first, on the grid of the first."""
    from lesiontrack.tracking import track_pair

    first, last = series.visits[0].truth, series.visits[-1].truth
    grid = transforms[-1] @ first.affine
    moved = resampling.resample_volume(
        Volume(last.voxels.astype(np.float32), last.affine), grid, first.voxels.shape, nearest=True
    )[0, 0].numpy()
    voxel_mm3 = float(abs(np.linalg.det(first.affine[:3, :3])))
    table, labels = track_pair(first.voxels > 0, moved > 0, series.years[-1] - series.years[0], voxel_mm3)
    found: dict[int, tuple[float, str]] = {}
    for row in table.itertuples():
        for key, ids, truth in (("baseline", row.baseline_ids, first.voxels), ("followup", row.followup_ids, moved)):
            for one in [int(text) for text in ids.split(",") if text]:
                met = truth[(labels[key] == one) & (truth > 0)].round().astype(int)
                lesion = int(np.bincount(met).argmax())
                size = max(row.volume_baseline_mm3, row.volume_followup_mm3)
                if lesion not in found or found[lesion][0] < size:
                    found[lesion] = (size, getattr(row, "class", None) or row[table.columns.get_loc("class") + 1])
    return [
        (series.largest_ml[lesion], series.fates[lesion], found.get(lesion, (0.0, "lost"))[1])
        for lesion, fate in series.fates.items()
        if fate != "never" and (lesion in found or fate not in ("vanished", "new"))
    ]


RIGHT = {
    "enlarging": {"enlarging", "trend_up"},
    "shrinking": {"shrinking", "trend_down"},
    "vanished": {"vanished", "merged", "resolved"},
    "new": {"new", "adjacent_fragment"},
    "stable": {"stable", "trend_up", "trend_down"},
    "trend_up": {"stable", "trend_up", "enlarging"},
    "trend_down": {"stable", "trend_down", "shrinking"},
}
"""Words that count as right for each true fate, as bidsgate counts for lesiontrack."""


def show(name: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Print the figures of some series."""
    if not records:
        return
    marks = [tuple(one) for record in records for one in record["marks"]]
    print(f"\n{name}: {len(records)} series, {sum(r['visits'] for r in records)} visits, {len(marks)} lesions")
    for low in (0.0, MIN_ML):
        some = [one for one in marks if one[0] >= low]
        print(
            f"  lesions of {1000 * low:.0f} mm3 and more: {sum(one[2] for one in some)} of "
            f"{sum(one[1] for one in some)} marks under the number of their lesion"
        )
        for program in ("fates", "lesiontrack"):
            told = [tuple(one) for record in records for one in record[program] if one[0] >= low]
            right = sum(said in RIGHT[fate] for _, fate, said in told)
            print(
                f"    fates since the first visit, {'ours' if program == 'fates' else program}: {right} of {len(told)}"
            )
    for what in ("inserted", "drawn larger"):
        kept, of = (sum(record[what][n] for record in records) for n in (0, 1))
        print(f"  {what}: {kept} of {of} marks keep their number")
    table = Counter((fate, said) for record in records for size, fate, said in record["fates"] if size >= MIN_ML)
    for (fate, said), count in sorted(table.items()):
        print(f"    true {fate}, said {said}: {count}{'' if said in RIGHT[fate] else '  wrong'}")


if __name__ == "__main__":
    main()
