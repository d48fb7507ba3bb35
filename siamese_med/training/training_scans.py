"""Selection of the scans of a study on which a model is trained and measured, as a table and as volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import EmptyInputError, NotEnoughDataError
from siamese_med.imaging.volume import read_volume
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.study.visit_order import sort_scans_by_time
from siamese_med.study.vocabulary import SAME_PATIENT, SPLITS, Split

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Positions = list[tuple[int, int]]
"""Pairs as places of their scans in a cohort."""


def select_usable_scans(scans: pd.DataFrame, prepared: PreparedStudy, pairs: pd.DataFrame) -> pd.DataFrame:
    """Select the aligned scans of the patients that have a split.

    Returns
    -------
    pandas.DataFrame
        Rows of the scan table in the order of their ids, with `since` filled in (see `fill_in_earlier_visits`), and two
        more columns: `split`, and `volume`, the path of the aligned voxels relative to the data folder.

    Raises
    ------
    EmptyInputError
        There is no such scan.
    """
    usable = _join_aligned_scans(scans, prepared, pairs)
    if usable.empty:
        raise EmptyInputError("no scan could be aligned, so there is nothing to train on: see `siamese-med status`")
    return usable


def _join_aligned_scans(scans: pd.DataFrame, prepared: PreparedStudy, pairs: pd.DataFrame) -> pd.DataFrame:
    """The table of `select_usable_scans`, also where it has no row."""
    aligned = prepared.alignments[prepared.alignments.ok]
    usable = fill_in_earlier_visits(scans).merge(aligned[["scan", "volume"]], left_on="id", right_on="scan")
    return _assign_splits(usable, pairs).sort_values("id").reset_index(drop=True)


def fill_in_earlier_visits(scans: pd.DataFrame) -> pd.DataFrame:
    """Fill in `since` where a mask of what changed does not say it: the visit before that has a scan of this contrast.

    Parameters
    ----------
    scans
        The whole scan table: also a scan that cannot be used is one that somebody may have compared with.

    Returns
    -------
    pandas.DataFrame
        The same rows. `since` stays empty where there is no visit before.
    """
    import pandas as pd

    visits: dict[tuple[str, ...], list[str]] = {}
    since: dict[str, str | None] = {}
    for scan in sort_scans_by_time(scans.itertuples()):
        line = visits.setdefault((scan.subject, scan.modality, scan.contrast), [])
        if scan.session not in line:
            line.append(scan.session)
        place = line.index(scan.session)
        before = line[place - 1] if place else None
        since[scan.id] = (scan.since or before) if isinstance(scan.difference, str) else None
    return scans.assign(since=pd.Series([since[scan] for scan in scans.id], scans.index, dtype=object))


def _assign_splits(scans: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The scans of the patients that have a split, with the column `split`."""
    sides = {
        **dict(zip(pairs.subject_a, pairs.split, strict=True)),
        **dict(zip(pairs.subject_b, pairs.split, strict=True)),
    }
    return scans.assign(split=scans.subject.map(sides)).dropna(subset=["split"])


def require_enough_patients(usable: pd.DataFrame) -> None:
    """Check that a model can be trained on these scans; raises NotEnoughDataError, see `describe_patient_shortage`."""
    if shortage := describe_patient_shortage(usable):
        raise NotEnoughDataError(f"{shortage}; ingest more patients, or use a model that exists (`siamese-med score`)")


def describe_patient_shortage(usable: pd.DataFrame) -> str | None:
    """Say in one line which split has too few patients to train on; None where all have enough.

    Every split needs two patients, and one with two scans. So it has pairs of one patient and of two patients: to learn
    from, to calibrate on, and to measure with.
    """
    for split in SPLITS:
        scans = usable[usable.split == split].subject.value_counts()
        if len(scans) < 2 or scans.max() < 2:
            return (
                f"the {split} split has {len(scans)} patient{'' if len(scans) == 1 else 's'}, "
                f"{int((scans > 1).sum())} with two aligned scans, and each split needs two patients, "
                "one of them with two scans"
            )
    return None


def may_have_enough_patients(scans: pd.DataFrame) -> bool:
    """Return whether scans are of enough patients for `describe_patient_shortage`, however they are split and lie."""
    counts = scans.subject.value_counts()
    return len(counts) >= 2 * len(SPLITS) and int((counts > 1).sum()) >= len(SPLITS)


def describe_comparison_shortage(usable: pd.DataFrame, least: int) -> str | None:
    """Say in one line that a trained model could not be compared with the current one; None where it could.

    `least` is the number of validation patients with two scans that a comparison needs.
    """
    scans = usable[usable.split == Split.VALIDATION].subject.value_counts()
    if (known := int((scans > 1).sum())) >= least:
        return None
    return (
        f"a model of this study could not be compared with the current one: {known} validation patients have two "
        f"aligned scans, {least} are needed (promote.min_patients)"
    )


def find_training_obstacle(
    scans: pd.DataFrame, pairs: pd.DataFrame, prepare: Callable[[], PreparedStudy], compared: int = 0
) -> str | None:
    """Say in one line why no model is to be trained of a study; None where one is.

    Parameters
    ----------
    prepare
        Aligns the scans to the study's own template. It is called only where the scans are enough, since all that work
        would be for nothing else.
    compared
        Number of validation patients that the comparison with the current model needs; 0 where there is none.
    """
    named = _assign_splits(scans, pairs)
    if shortage := describe_patient_shortage(named) or describe_comparison_shortage(named, compared):
        return shortage
    usable = _join_aligned_scans(scans, prepare(), pairs)
    return describe_patient_shortage(usable) or describe_comparison_shortage(usable, compared)


def collect_training_data(
    study: Study, usable: pd.DataFrame, pairs: pd.DataFrame, template: Path
) -> tuple[dict[str, ScanDataset], tuple[Positions, Positions]]:
    """Collect the volumes of each split, and the training pairs.

    Parameters
    ----------
    usable
        See `select_usable_scans`.
    template
        NIfTI file of the template on whose grid the volumes lie.

    Returns
    -------
    tuple
        The volumes by the name of their split; then the pairs of one patient and the pairs of two patients, as
        positions in the volumes of the training split.
    """
    affine = read_volume(template).affine
    cohorts = {str(split): load_scan_dataset(usable[usable.split == split], study.data, affine) for split in SPLITS}
    return cohorts, _positions(usable, pairs)


def load_scan_dataset(usable: pd.DataFrame, data: Path, affine: NDArray[np.float64] | None = None) -> ScanDataset:
    """Return the volumes of these scans, each labelled with its patient; voxels are read when they are asked for.

    `affine` is that of their grid, where it matters.
    """
    days = count_days(list(usable.subject), list(usable.date))
    return ScanDataset(
        [data / path for path in usable.volume], list(usable.subject), list(usable.session), days, affine
    )


def count_days(subjects: Sequence[str], dates: Sequence[object]) -> list[float]:
    """Count the days of each scan since the first dated one of its patient; NaN for a scan without a date.

    Parameters
    ----------
    subjects
        Patient of each scan.
    dates
        ISO date of each scan; anything but a text counts as none.

    Examples
    --------
    >>> count_days(["sub-1", "sub-1", "sub-2"], ["2020-03-01", "2020-02-01", None])
    [29.0, 0.0, nan]
    """
    known = [date.fromisoformat(day) if isinstance(day, str) else None for day in dates]
    first: dict[str, date] = {}
    for subject, day in zip(subjects, known, strict=True):
        if day is not None:
            first[subject] = min(day, first.get(subject, day))
    return [
        float("nan") if day is None else float((day - first[subject]).days)
        for subject, day in zip(subjects, known, strict=True)
    ]


def _positions(usable: pd.DataFrame, pairs: pd.DataFrame) -> tuple[Positions, Positions]:
    """Explicit training pairs, same and different, as positions in the training cohort."""
    place = {scan: position for position, scan in enumerate(usable[usable.split == Split.TRAIN].id)}
    mine = pairs[(pairs.split == Split.TRAIN) & pairs.scan_a.isin(place) & pairs.scan_b.isin(place)]
    kinds: tuple[Positions, Positions] = ([], [])
    for pair in mine.itertuples():
        kinds[0 if pair.kind in SAME_PATIENT else 1].append((place[pair.scan_a], place[pair.scan_b]))
    return kinds
