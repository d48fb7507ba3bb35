"""The pair table: same-patient pairs along each time line, and different-patient pairs, easy and hard."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med import files
from siamese_med.config import PairConfig
from siamese_med.errors import EmptyInputError
from siamese_med.pairing import splits
from siamese_med.records import PAIR_COLUMNS, SAME_PATIENT, SPLITS

if TYPE_CHECKING:
    import pandas as pd

ALL_PAIRS_UP_TO = 6
"""A time line of at most this many scans gives all its pairs; a longer one its neighbours and those with the first."""


def build(scans: pd.DataFrame, path: Path, config: PairConfig) -> pd.DataFrame:
    """Split the patients (those of an earlier table keep their side), then build, check and write the pair table."""
    import pandas as pd

    if scans.empty:
        raise EmptyInputError("the catalogue holds no scan: run `siamese-med ingest INPUT` first")
    scans = scans.sort_values("id")  # so that the same scans in any order give the same pairs
    sides = splits.assign(scans.subject.unique(), _known(path), config)
    rows = list(same_patient(scans, config.rescan_days))
    for split in SPLITS:
        members = scans[scans.subject.map(sides) == split]
        positives = sum(sides[row["subject_a"]] == split for row in rows)
        rows += different_patients(members, max(positives, len(members)), config)
    table = pd.DataFrame([{**row, "split": sides[row["subject_a"]]} for row in rows], columns=list(PAIR_COLUMNS))
    table["interval_days"] = table.interval_days.astype("Int64")
    splits.check(table)
    files.write_parquet(path, table)
    return table


def same_patient(scans: pd.DataFrame, rescan_days: int) -> Iterator[dict[str, Any]]:
    """Pairs of each patient's scans, earlier first; alike in modality and contrast where there are such."""
    for subject, mine in scans.groupby("subject"):
        streams = [list(in_order(stream).itertuples()) for _, stream in mine.groupby(["modality", "contrast"])]
        pairs = [pair for stream in streams for pair in _along(stream)]
        if not pairs and len(mine) > 1:  # nothing alike: pair what there is, so that the report can say why not
            pairs = _along(list(in_order(mine).itertuples()))
        labels = _labels(mine)
        for earlier, later in pairs:
            days = _days_between(earlier, later)
            kind = _kind(days, _labels_between(labels, earlier, later), rescan_days)
            yield _row(earlier, later, subject, subject, days, kind)


def in_order(scans: pd.DataFrame) -> pd.DataFrame:
    """Scans by date; those without one by session, after the dated."""
    return (
        scans.assign(_undated=scans.date.isna(), _visit=scans.session.str.extract(r"(\d+)$", expand=False).astype(int))
        .sort_values(["_undated", "date", "_visit", "id"])
        .drop(columns=["_undated", "_visit"])
    )


def _along(line: list[Any]) -> list[tuple[Any, Any]]:
    if len(line) <= ALL_PAIRS_UP_TO:
        return list(combinations(line, 2))
    return [*pairwise(line), *((line[0], later) for later in line[2:])]


def _days_between(earlier: Any, later: Any) -> int | None:
    from datetime import date

    if not (isinstance(earlier.date, str) and isinstance(later.date, str)):
        return None
    return (date.fromisoformat(later.date) - date.fromisoformat(earlier.date)).days


def _labels(mine: pd.DataFrame) -> dict[str, bool | None]:
    """Visits of one patient in order, and whether each changed against the one before, where that is known."""
    labels: dict[str, bool | None] = {}
    for scan in in_order(mine).itertuples():
        known = _label(getattr(scan, "changed", None))
        labels[scan.session] = labels.get(scan.session) if known is None else known
    return labels


def _label(value: Any) -> bool | None:
    import pandas as pd

    return None if value is None or pd.isna(value) else bool(value)


def _labels_between(labels: dict[str, bool | None], earlier: Any, later: Any) -> list[bool | None]:
    visits = list(labels)
    return [labels[visit] for visit in visits[visits.index(earlier.session) + 1 : visits.index(later.session) + 1]]


def _kind(days: int | None, labels: list[bool | None], rescan_days: int) -> str:
    """What the labels of all visits on the way say; where they leave it open, the interval."""
    if any(labels):
        return "changed"
    if labels and all(label is False for label in labels):
        return "rescan"
    return "rescan" if days is not None and days <= rescan_days else "follow_up"


def different_patients(scans: pd.DataFrame, positives: int, config: PairConfig) -> list[dict[str, Any]]:
    """About `negatives` times as many pairs as there are positives; hard ones share scanner, protocol and contrast."""
    by_machine = dict(list(scans.groupby(["modality", "contrast", "scanner", "protocol"])))
    by_contrast = dict(list(scans.groupby(["modality", "contrast"])))
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    each = round(config.negatives * positives / max(len(scans), 1) + 0.499)
    for scan in scans.itertuples():
        rng = np.random.default_rng([config.seed, zlib.crc32(str(scan.id).encode())])
        for _ in range(each):
            hard = rng.random() < config.hard
            machine = by_machine[(scan.modality, scan.contrast, scan.scanner, scan.protocol)]
            pool = machine if hard else by_contrast[(scan.modality, scan.contrast)]
            pool = pool[pool.subject != scan.subject]
            if pool.empty:
                continue
            other = pool.iloc[int(rng.integers(len(pool)))]
            first, second = sorted((scan, other), key=lambda one: str(one.id))
            alike = scan.scanner == other.scanner and scan.protocol == other.protocol and scan.scanner != "unknown"
            kind = "different_hard" if alike else "different"
            rows[(first.id, second.id)] = _row(first, second, first.subject, second.subject, None, kind)
    return list(rows.values())


def _row(a: Any, b: Any, subject_a: Any, subject_b: Any, days: int | None, kind: str) -> dict[str, Any]:
    return {
        "scan_a": a.id,
        "scan_b": b.id,
        "subject_a": subject_a,
        "subject_b": subject_b,
        "interval_days": days,
        "kind": kind,
    }


def is_same_patient(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are pairs of one patient."""
    return pairs.kind.isin(SAME_PATIENT)


def _known(path: Path) -> dict[str, str]:
    import pandas as pd

    if not path.is_file():
        return {}
    earlier = pd.read_parquet(path, columns=["subject_a", "subject_b", "split"])
    return {
        **dict(zip(earlier.subject_b, earlier.split, strict=True)),
        **dict(zip(earlier.subject_a, earlier.split, strict=True)),
    }
