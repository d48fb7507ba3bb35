"""Which scans of a study a model is trained and measured on, as a table and as volumes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import EmptyInputError, NotEnoughDataError
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.study.vocabulary import SAME_PATIENT, SPLITS, Split

if TYPE_CHECKING:
    import pandas as pd

Positions = list[tuple[int, int]]
"""Pairs as places of their scans in a cohort."""


def select_usable_scans(scans: pd.DataFrame, prepared: PreparedStudy, pairs: pd.DataFrame) -> pd.DataFrame:
    """Select the aligned scans of the patients that have a split.

    Returns
    -------
    pandas.DataFrame
        Rows of the scan table in the order of their ids, with two more columns: `split`, and `volume`, the path of the
        aligned voxels relative to the data folder.

    Raises
    ------
    EmptyInputError
        There is no such scan.
    """
    sides = {
        **dict(zip(pairs.subject_a, pairs.split, strict=True)),
        **dict(zip(pairs.subject_b, pairs.split, strict=True)),
    }
    aligned = prepared.alignments[prepared.alignments.ok]
    usable = scans.merge(aligned[["scan", "volume"]], left_on="id", right_on="scan")
    usable = usable.assign(split=usable.subject.map(sides)).dropna(subset=["split"]).sort_values("id")
    if usable.empty:
        raise EmptyInputError("no scan could be aligned, so there is nothing to train on: see `siamese-med status`")
    return usable.reset_index(drop=True)


def require_enough_patients(usable: pd.DataFrame) -> None:
    """Check that every split has two patients, and one with two scans, so that it has pairs of both kinds.

    Pairs of one patient and of two patients are needed in each split: to learn from, to calibrate on, and to measure
    with. Raises NotEnoughDataError.
    """
    for split in SPLITS:
        scans = usable[usable.split == split].subject.value_counts()
        if len(scans) < 2 or scans.max() < 2:
            raise NotEnoughDataError(
                f"the {split} split has {len(scans)} patients, {int((scans > 1).sum())} with two aligned scans: "
                "each split needs two patients, one of them with two scans; ingest more patients, "
                "or score with an existing model (--model)"
            )


def collect_training_data(
    study: Study, usable: pd.DataFrame, pairs: pd.DataFrame
) -> tuple[dict[str, ScanDataset], tuple[Positions, Positions]]:
    """Collect the volumes of each split, and the training pairs.

    Parameters
    ----------
    usable
        See `select_usable_scans`.

    Returns
    -------
    tuple
        The volumes by the name of their split; then the pairs of one patient and the pairs of two patients, as
        positions in the volumes of the training split.
    """
    cohorts = {str(split): load_scan_dataset(usable[usable.split == split], study.data) for split in SPLITS}
    return cohorts, _positions(usable, pairs)


def load_scan_dataset(usable: pd.DataFrame, data: Path) -> ScanDataset:
    """Return the volumes of these scans, each labelled with its patient; voxels are read when they are asked for."""
    return ScanDataset([data / path for path in usable.volume], list(usable.subject))


def _positions(usable: pd.DataFrame, pairs: pd.DataFrame) -> tuple[Positions, Positions]:
    """Explicit training pairs, same and different, as positions in the training cohort."""
    place = {scan: position for position, scan in enumerate(usable[usable.split == Split.TRAIN].id)}
    mine = pairs[(pairs.split == Split.TRAIN) & pairs.scan_a.isin(place) & pairs.scan_b.isin(place)]
    kinds: tuple[Positions, Positions] = ([], [])
    for pair in mine.itertuples():
        kinds[0 if pair.kind in SAME_PATIENT else 1].append((place[pair.scan_a], place[pair.scan_b]))
    return kinds
