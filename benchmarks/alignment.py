"""Alignment against known poses, beside SimpleITK: `python -m benchmarks.alignment --scans 72 --seed 11`.

Simulated scans (three contrasts, slices of 1.8 to 5 mm in three planes, turned by up to 20 degrees and moved by up to
20 mm) onto a FLAIR template of eight other people; then scans that may or must fail, to see which of them the quality
figure catches. A failure is a residual of over 5 degrees or 5 mm, or whatever was found for a scan that has no pose.
With --ixi FOLDER also real heads: each moved to known poses, onto their own template and onto the simulated one; with
--organ FOLDER the same of something else, onto its own template.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks import posed
from benchmarks.posed import Posed
from benchmarks.yardsticks import convert_to_simpleitk, register_by_simpleitk
from siamese_med.imaging import registration, volume
from siamese_med.imaging.volume import Volume
from siamese_med.preparation import aligned_volumes, scan_placement
from siamese_med.preparation import study_template as templates
from siamese_med.study.config import PrepareConfig

LIMIT_DEGREES, LIMIT_MM = 5.0, 5.0
BATCH = PrepareConfig().batch_size
MIN_QUALITY = PrepareConfig().min_quality
DRAWS = 2000
REPEATS, MAX_REAL = 4, 24


def main() -> None:
    """Simulate, align and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--scans", type=int, default=72)
    arguments.add_argument("--seed", type=int, default=11)
    arguments.add_argument("--ixi", type=Path, help="folder of real heads, NIfTI")
    arguments.add_argument("--organ", type=Path, help="folder of real scans of another part of the body, NIfTI")
    arguments.add_argument("--no-yardstick", action="store_true", help="leave SimpleITK out")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    fixed = posed.template("FLAIR", given.seed)
    good = list(posed.scans(given.scans, given.seed))
    rng = np.random.default_rng([given.seed, 3])
    bad = [posed.hard(scan, number, rng) for number, scan in enumerate(good)]
    print(f"simulated, seed {given.seed}, one thread: {len(good)} scans of known pose, {len(bad)} that may fail")
    ours = aligned(good, fixed)
    print_residuals("siamese-med", ours)
    if not given.no_yardstick:
        theirs = aligned_by_simpleitk(good, fixed)
        print_residuals("SimpleITK", theirs)
        print(f"time against SimpleITK: {ours.seconds.sum() / theirs.seconds.sum():.3f}")
    print_caught(pd.concat([ours, aligned(bad, fixed)], ignore_index=True))
    for folder, foreign in ((given.ixi, {"the simulated FLAIR": fixed}), (given.organ, {})):
        if folder:
            real(folder, foreign, given.seed)


def aligned(scans: Sequence[Posed], fixed: Volume) -> pd.DataFrame:
    """One row a scan: the residual, what is said of it, CPU-seconds of aligning and of resampling."""
    rows = []
    masks = fixed.voxels > fixed.voxels.mean(), np.ones(fixed.voxels.shape, dtype=bool)
    for first in range(0, len(scans), BATCH):
        batch = scans[first : first + BATCH]
        found, seconds = _timed(partial(registration.register_scans, [one.scan for one in batch], fixed))
        for one, result in zip(batch, found, strict=True):
            place = partial(scan_placement.resample_to_template, one.scan, result, fixed, masks, "cpu")
            (_, record), placing = _timed(place)
            rows.append(
                {
                    **_residual(one, result.matrix),
                    "quality": record["quality"],
                    "ok": scan_placement.is_alignment_usable(record, MIN_QUALITY),
                    "seconds": seconds / len(batch),
                    "placing": placing,
                }
            )
    return pd.DataFrame(rows)


def aligned_by_simpleitk(scans: Sequence[Posed], fixed: Volume) -> pd.DataFrame:
    """The same from the yardstick: Mattes mutual information, moments as the start, three resolutions, one thread."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    goal = convert_to_simpleitk(fixed)
    rows = []
    for one in scans:
        matrix, seconds = _timed(partial(register_by_simpleitk, goal, convert_to_simpleitk(one.scan)))
        rows.append({**_residual(one, matrix), "seconds": seconds})
    return pd.DataFrame(rows)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def _residual(one: Posed, found: np.ndarray[Any, Any]) -> dict[str, Any]:
    degrees, mm = (np.inf, np.inf) if one.truth is None else measure_apart(one.truth, found)
    failed = degrees > LIMIT_DEGREES or mm > LIMIT_MM
    about = {"patient": one.patient, "group": one.group, "contrast": one.contrast, "truth": one.truth}
    return {**about, "found": found, "degrees": degrees, "mm": mm, "failed": failed}


def measure_apart(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Angle in degrees, and shift in mm at the template's centre, between two transforms from the template."""
    left = np.linalg.inv(a) @ b
    turn = np.degrees(np.arccos(np.clip((np.trace(left[:3, :3]) - 1) / 2, -1, 1)))
    return float(turn), float(np.linalg.norm(left[:3, 3]))


def print_residuals(name: str, rows: pd.DataFrame) -> None:
    """Median and 90th percentile with intervals, by anatomy and by contrast, and of pairs of scans of one person."""
    placing = f", and {rows.placing.mean():.3f} for the final resampling" if "placing" in rows else ""
    low, high = _interval(rows.patient, rows.seconds.to_numpy(), np.mean)
    print(f"\n{name}: {rows.seconds.mean():.3f} ({low:.3f}-{high:.3f}) CPU-seconds a scan{placing}")
    print("| scans | n | failed | degrees p50 | degrees p90 | mm p50 | mm p90 |\n|---|---|---|---|---|---|---|")
    for group, part in [("all", rows), *rows.groupby("group"), *rows.groupby("contrast")]:
        _line(str(group), part)
    _line("one person's two scans, one to the other", _relative(rows[rows.group == "other people"]))


def _relative(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a person: the first scan to the second, found against true."""
    apart = []
    for patient, pair in rows.groupby("patient"):
        degrees, mm = measure_apart(*(np.linalg.inv(one.truth) @ one.found for one in pair.itertuples()))
        failed = degrees > LIMIT_DEGREES or mm > LIMIT_MM
        apart.append({"patient": patient, "degrees": degrees, "mm": mm, "failed": failed})
    return pd.DataFrame(apart)


def _line(name: str, rows: pd.DataFrame) -> None:
    cells = []
    for column in ("degrees", "mm"):
        for share in (50, 90):
            values = rows[column].to_numpy()
            low, high = _interval(rows.patient, values, lambda drawn, q=share: np.percentile(drawn, q))
            cells.append(f"{np.percentile(values, share):.2f} ({low:.2f}-{high:.2f})")
    print(f"| {name} | {len(rows)} | {int(rows.failed.sum())} | " + " | ".join(cells) + " |")


def _interval(patients: pd.Series, values: np.ndarray[Any, Any], figure: Callable[..., Any]) -> tuple[float, float]:
    """95 % by a bootstrap over patients."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(patients.to_numpy() == patient) for patient in patients.unique()]
    drawn = [
        figure(values[np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])])
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def print_caught(rows: pd.DataFrame) -> None:
    """Which failures are flagged, and which good alignments are refused."""
    failed, fine = rows[rows.failed], rows[~rows.failed]
    print(f"\nflagged below quality {MIN_QUALITY} (or too little of the body in view)")
    for name, part in (("failures caught", failed), ("good ones refused", fine)):
        if part.empty:
            continue
        share = (~part.ok.to_numpy()).astype(float)
        low, high = _interval(part.patient, share, np.mean)
        print(f"{name}: {int(share.sum())} of {len(part)} = {share.mean():.3f} ({low:.3f}-{high:.3f})")
    print("| scans | n | failed | of them caught | found | of them refused | quality of failed | of found |")
    print("|---|---|---|---|---|---|---|---|")
    for group, part in rows.groupby("group", sort=False):
        lost, found = part[part.failed], part[~part.failed]
        spans = [f"{one.quality.min():.3f}-{one.quality.max():.3f}" if len(one) else "-" for one in (lost, found)]
        counts = [len(part), len(lost), int((~lost.ok).sum()), len(found), int((~found.ok).sum())]
        print(" | ".join([f"| {group}", *map(str, counts), *spans]) + " |")


def real(folder: Path, foreign: dict[str, Volume], seed: int) -> None:
    """Real scans moved to known poses: how far the moved ones are found from the unmoved, by template."""
    loaded = [volume.reorient_to_ras(volume.read_volume(path)) for path in sorted(folder.glob("*.nii*"))[:MAX_REAL]]
    rng = np.random.default_rng([seed, 4])
    own = templates.build_template(loaded[: aligned_volumes.MAX_TEMPLATE_SCANS], posed.SHAPE, None, "cpu")
    print(f"\nreal scans ({folder.name}), {len(loaded)} of them, moved {REPEATS} times by up to 20 degrees and 20 mm")
    print("| template | n | failed | degrees p50 | degrees p90 | mm p50 | mm p90 |\n|---|---|---|---|---|---|---|")
    for name, fixed in {"their own": own, **foreign}.items():
        rows = []
        for number, scan in enumerate(loaded):
            (start,) = registration.register_scans([scan], fixed)
            one = Posed(scan, str(number), name, "", start.matrix)
            centre = start.matrix[:3, 3]
            rows.append(aligned([posed.moved(one, posed.motion(rng, 0, 20), centre) for _ in range(REPEATS)], fixed))
        table = pd.concat(rows, ignore_index=True)
        flagged, quality = int((~table.ok).sum()), f"{table.quality.min():.3f} to {table.quality.max():.3f}"
        _line(f"{name} ({flagged} of {len(table)} flagged, quality {quality})", table)


if __name__ == "__main__":
    main()
