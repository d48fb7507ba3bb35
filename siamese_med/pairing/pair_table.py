"""The pair table: pairs of scans of one patient along the time line, and pairs of different patients, easy and hard."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import numpy as np

from siamese_med.errors import EmptyInputError
from siamese_med.pairing import patient_splits
from siamese_med.pairing.rescans import (
    flags_of,
    is_one_acquisition,
    repeat_protocol,
    repeat_within_day,
    show_two_places,
    shows_agent,
)
from siamese_med.pairing.stable_draw import PartnerRing
from siamese_med.runtime import files
from siamese_med.study.config import PairConfig
from siamese_med.study.contrasts import OTHER_CONTRAST, is_one_contrast
from siamese_med.study.tables import PAIR_COLUMNS
from siamese_med.study.visit_order import sort_scans_by_time
from siamese_med.study.vocabulary import SAME_PATIENT, SPLITS, UNKNOWN, UNPAIRED_FLAGS, PairKind, ScanFlag

if TYPE_CHECKING:
    import pandas as pd

Key = TypeVar("Key")

MAX_SCANS_FOR_ALL_PAIRS = 6
"""A patient's scans of one contrast give all pairs if there are at most this many. If there are more, each scan is
paired with the next and with the first, so that the number of pairs grows linearly."""

MAX_VISITS_A_DAY = 2
"""Nobody visits more often on one day: then the date is one that an anonymiser wrote into every header.

Source: our choice."""


class PairTableRow(TypedDict):
    """A row of the pair table without its split; the columns are described at `study.tables.PAIR_COLUMNS`."""

    scan_a: str
    scan_b: str
    subject_a: str
    subject_b: str
    interval_days: int | None
    kind: str


def build_pair_table(scans: pd.DataFrame, path: Path, config: PairConfig) -> pd.DataFrame:
    """Split the patients, then build, check and write the pair table.

    Parameters
    ----------
    scans
        Usable scans of the catalogue, one row each. Their order does not matter. Those with one of
        `vocabulary.UNPAIRED_FLAGS` are left out, and those of OTHER_CONTRAST.
    path
        Parquet file to write. The splits of all patients are kept beside it, also of those who are not in it any more.

    Raises
    ------
    EmptyInputError
        There is no scan.
    LeakageError
        A patient is in two splits.
    InputError
        An existing file cannot be read.
    """
    import pandas as pd

    if scans.empty:
        raise EmptyInputError("the catalogue holds no scan: run `siamese-med ingest INPUT` first")
    scans = scans.sort_values("id")  # so that the same scans in any order give the same pairs
    rows = list(build_same_patient_pairs(scans, config.rescan_days))
    scans = scans[[_is_paired(scan) for scan in scans.itertuples()]]
    known = patient_splits.read_known_splits(path)
    sides = patient_splits.assign_splits(scans.subject.unique(), known, config)
    same = Counter(row["subject_a"] for row in rows)
    for split in SPLITS:
        members = scans[scans.subject.map(sides) == split]
        rows += build_different_patient_pairs(members, same, config)
    table = pd.DataFrame([{**row, "split": sides[row["subject_a"]]} for row in rows], columns=list(PAIR_COLUMNS))
    table["interval_days"] = table.interval_days.astype("Int64")
    patient_splits.check_patient_leakage(table)
    patient_splits.write_splits(path, {**known, **sides})
    files.write_parquet_file(path, table)
    return table


def build_same_patient_pairs(scans: pd.DataFrame, rescan_days: int) -> Iterator[PairTableRow]:
    """Build the pairs of each patient's scans, with the earlier scan first.

    Only scans of one modality and contrast are paired, both with fat suppressed or neither. Where a visit has several
    of them, such as echoes or inversions, each is paired with those of its own protocol if the other visit has one.
    Scans of unknown contrast are paired with each other where no visit of the pair has two of them: in a visit with
    several, nothing tells which is the T1 and which the FLAIR. A patient who has no pair by these rules gets pairs of
    unlike scans, so that the report can say why they cannot be compared.

    Parameters
    ----------
    scans
        All scans of the catalogue: those with one of `vocabulary.UNPAIRED_FLAGS` are in no pair, but the date of a
        visit may be theirs alone. The optional column `changed` is a known label of each visit against the one before.
    rescan_days
        Without labels, a pair with at most this interval in days is a `rescan`, any other a `follow_up`. A `rescan` is
        two acquisitions of one contrast, at times that are known to differ: T1 and FLAIR are none, whatever their dates
        and labels say, nor are two scans of one day without a time, nor, without labels, two of different protocols.
        Two scans of one acquisition, such as an image
        before and after a correction, are no pair, nor are two scans of one visit that lie side by side.
    """
    paired = [scan for scan in sort_scans_by_time(scans.itertuples()) if _is_paired(scan)]
    for subject, mine in _group_scans(paired, lambda scan: scan.subject).items():
        streams = _group_scans(mine, _stream)
        pairs = [pair for _, stream in sorted(streams.items()) for pair in _pair_stream(_tell_apart(stream))]
        if not pairs:  # no two alike: so that the report can say why not
            pairs = _pair_unlike_scans(mine)
        labels = _labels(mine)
        days_of_visits = {scan.session: scan.date for scan in mine}
        crowded = {day for day, visits in Counter(days_of_visits.values()).items() if visits > MAX_VISITS_A_DAY}
        for pair in pairs:
            earlier, later = pair
            if is_one_acquisition(earlier, later) or show_two_places(earlier, later):
                continue
            days = _days_between(earlier, later)
            known = None if days == 0 and (earlier.date in crowded or not repeat_within_day(earlier, later)) else days
            between = _labels_between(labels, earlier, later)
            kind = _kind(known, between, rescan_days)
            said = bool(between) and None not in between
            if kind == PairKind.RESCAN and not (_may_be_rescan(earlier, later) and (said or repeat_protocol(*pair))):
                kind = PairKind.FOLLOW_UP
            yield _row(earlier, later, subject, subject, days, kind)


def _stream(scan: Any) -> tuple[str, ...]:
    """Return what scans of one time line share."""
    return *_contrast(scan), str(ScanFlag.FAT_SUPPRESSED in flags_of(scan))


def _pair_stream(stream: list[Any]) -> list[tuple[Any, Any]]:
    """Pair the scans of one contrast; where a visit has several protocols, like with like."""
    known = {(scan.session, scan.protocol) for scan in stream}
    if len(known) == len({scan.session for scan in stream}):
        return _pair_time_line(stream)
    lines = [*_group_scans(stream, lambda scan: str(scan.protocol)).values(), stream]
    pairs = {(one.id, other.id): (one, other) for line in lines for one, other in _pair_time_line(line)}

    def fits(one: Any, other: Any) -> bool:
        better = (other.session, one.protocol) in known or (one.session, other.protocol) in known
        return one.protocol == other.protocol or (one.session != other.session and not better)

    return [pair for pair in pairs.values() if fits(*pair)]


def _tell_apart(stream: list[Any]) -> list[Any]:
    """Leave out scans of unknown contrast that share their visit with another one of the stream."""
    if stream[0].contrast != UNKNOWN:
        return stream
    visits = Counter(scan.session for scan in stream)
    return [scan for scan in stream if visits[scan.session] == 1]


def _pair_unlike_scans(mine: list[Any]) -> list[tuple[Any, Any]]:
    """Pair scans of different kinds; one of unknown contrast only with the single scan of another visit.

    Two of one kind and one visit, such as echoes or flip angles, are no pair, since no reason would be said.
    """
    visits = Counter(scan.session for scan in mine)
    return [
        (earlier, later)
        for earlier, later in _pair_time_line(mine)
        if (earlier.session, _stream(earlier)) != (later.session, _stream(later))
        if UNKNOWN not in (earlier.contrast, later.contrast)
        or (visits[earlier.session] == visits[later.session] == 1 and earlier.session != later.session)
    ]


def _may_be_rescan(earlier: Any, later: Any) -> bool:
    """Whether both scans are of one contrast; if it is unknown, two visits with one scan each are taken for that."""
    if _stream(earlier) != _stream(later) or shows_agent(earlier) != shows_agent(later):
        return False
    return is_one_contrast(earlier, later) or earlier.session != later.session


def _may_be_one_person(one: Any, other: Any) -> bool:
    """Whether two patients may be one: their scans are equal, their identifiers alike, or nothing names one of them."""
    alike = all(ScanFlag.SIMILAR_ID in flags_of(scan) for scan in (one, other))
    unnamed = any(ScanFlag.PATIENT_UNNAMED in flags_of(scan) for scan in (one, other))
    content = getattr(one, "sha256", None)
    return alike or unnamed or (isinstance(content, str) and content == getattr(other, "sha256", None))


def _is_paired(scan: Any) -> bool:
    """Whether a scan is in pairs: it has no flag against it, and its contrast is one that can be compared."""
    return UNPAIRED_FLAGS.isdisjoint(flags_of(scan)) and scan.contrast != OTHER_CONTRAST


def _group_scans(scans: Iterable[Any], what: Callable[[Any], Key]) -> dict[Key, list[Any]]:
    """Group scans by a key; their order is kept."""
    found: dict[Key, list[Any]] = defaultdict(list)
    for scan in scans:
        found[what(scan)].append(scan)
    return found


def _pair_time_line(line: list[Any]) -> list[tuple[Any, Any]]:
    if len(line) <= MAX_SCANS_FOR_ALL_PAIRS:
        return list(combinations(line, 2))
    return [*pairwise(line), *((line[0], later) for later in line[2:])]


def _days_between(earlier: Any, later: Any) -> int | None:
    """Return the days between two scans; None where a date is missing, or contradicts others."""
    from datetime import date

    if not (isinstance(earlier.date, str) and isinstance(later.date, str)):
        return None
    if any(ScanFlag.DATE_CONFLICT in flags_of(scan) for scan in (earlier, later)):
        return None
    return (date.fromisoformat(later.date) - date.fromisoformat(earlier.date)).days


def _labels(mine: Iterable[Any]) -> dict[str, bool | None]:
    """The visits of one patient in order, each with its label: changed against the visit before, or None if unknown."""
    labels: dict[str, bool | None] = {}
    for scan in mine:
        known = _label(getattr(scan, "changed", None))
        labels[scan.session] = labels.get(scan.session) if known is None else known
    return labels


def _label(value: Any) -> bool | None:
    import pandas as pd

    return None if value is None or pd.isna(value) else bool(value)


def _labels_between(labels: dict[str, bool | None], earlier: Any, later: Any) -> list[bool | None]:
    visits = list(labels)
    return [labels[visit] for visit in visits[visits.index(earlier.session) + 1 : visits.index(later.session) + 1]]


def _kind(days: int | None, labels: list[bool | None], rescan_days: int) -> PairKind:
    """Kind of a same-patient pair: by the labels of the visits between its scans, or else by the interval."""
    if any(labels):
        return PairKind.CHANGED
    if labels and all(label is False for label in labels):
        return PairKind.RESCAN
    return PairKind.RESCAN if days is not None and days <= rescan_days else PairKind.FOLLOW_UP


def build_different_patient_pairs(
    scans: pd.DataFrame, same: Mapping[str, int], config: PairConfig
) -> list[PairTableRow]:
    """Draw pairs of different patients, `config.negatives_per_positive` for each same-patient pair.

    All pairs agree in modality and contrast, and nothing says that both patients may be one. A share of them,
    `config.hard_negative_share`, also agree in scanner and protocol, so that these do not tell the patients apart. Each
    scan draws its partners by its id only, so a new scan changes few pairs of other scans.

    Parameters
    ----------
    scans
        Scans of one split.
    same
        Number of same-patient pairs of each patient.
    """
    everyone = list(scans.itertuples())
    rings = {
        level: {alike: PartnerRing(members, config.seed) for alike, members in _group_scans(everyone, level).items()}
        for level in (_machine, _contrast)
    }
    counts = scans.subject.value_counts()
    rows: dict[tuple[str, str], PairTableRow] = {}
    for scan in everyone:
        rng = np.random.default_rng([config.seed, zlib.crc32(str(scan.id).encode())])
        own = counts[scan.subject]
        for _ in range(round(config.negatives_per_positive * max(same.get(scan.subject, 0), own) / own + 0.499)):
            level = _machine if rng.random() < config.hard_negative_share else _contrast
            other = rings[level][level(scan)].after(rng.random(), scan.subject)
            if other is None or _may_be_one_person(scan, other):
                continue
            first, second = sorted((scan, other), key=lambda one: str(one.id))
            alike = scan.scanner == other.scanner and scan.protocol == other.protocol and scan.scanner != UNKNOWN
            kind = PairKind.DIFFERENT_HARD if alike else PairKind.DIFFERENT
            rows[(first.id, second.id)] = _row(first, second, first.subject, second.subject, None, kind)
    return list(rows.values())


def _machine(scan: Any) -> tuple[str, ...]:
    return scan.modality, scan.contrast, scan.scanner, scan.protocol


def _contrast(scan: Any) -> tuple[str, ...]:
    return scan.modality, scan.contrast


def _row(a: Any, b: Any, subject_a: Any, subject_b: Any, days: int | None, kind: str) -> PairTableRow:
    return {
        "scan_a": a.id,
        "scan_b": b.id,
        "subject_a": subject_a,
        "subject_b": subject_b,
        "interval_days": days,
        "kind": str(kind),
    }


def is_same_patient(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Mark the rows of a pair table that are pairs of one patient.

    Examples
    --------
    >>> import pandas as pd
    >>> is_same_patient(pd.DataFrame({"kind": ["rescan", "follow_up", "different_hard"]})).tolist()
    [True, True, False]
    """
    return pairs.kind.isin(SAME_PATIENT)
