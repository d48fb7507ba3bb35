"""The straight line, start reading here: six stages, each from files on disk to files on disk.

    ingest -> prepare -> pair -> train -> score -> report

Stages never import one another; this is where they meet. Every function can be called again: it does only what is
new and leaves the same files. None of them knows Prefect; the flows call them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med.records import Ingested, Prepared, Study

if TYPE_CHECKING:
    import pandas as pd


def simulate(folder: Path, patients: int = 24, visits: int = 3, seed: int = 0) -> Path:
    """Write a simulated cohort and its truth under `folder`; returns the folder that a hospital would have exported."""
    from siamese_med.phantom import cohort

    cohort.write_cohort(folder, patients, visits, seed)
    return folder / "input"


def ingest(source: Path, study: Study) -> Ingested:
    """Files (folder, BIDS tree or CSV manifest) to scans: catalogue, NIfTI, and an account of every file."""
    from siamese_med.ingestion import batch

    return batch.ingest(source, study.data, study.catalogue_url, study.config.ingest)


def scans(study: Study) -> pd.DataFrame:
    """Every scan of the catalogue, one row each, with the columns of records.SCAN_COLUMNS."""
    from siamese_med.ingestion import catalogue

    return catalogue.scans(study.catalogue_url)


def prepare(study: Study, model: Path | None = None) -> Prepared:
    """Scans to aligned volumes on one grid; on the template of `model` where one is given."""
    raise NotImplementedError


def build_pairs(study: Study) -> pd.DataFrame:
    """Scans to pairs, patients split first; columns of records.PAIR_COLUMNS."""
    raise NotImplementedError


def train(study: Study) -> Path:
    """Pairs to a model folder, calibrated on validation patients and measured once on test patients."""
    raise NotImplementedError


def score(study: Study, model: Path) -> pd.DataFrame:
    """Pairs to scores; columns of records.SCORE_COLUMNS."""
    raise NotImplementedError


def report(study: Study, model: Path) -> Path:
    """Scores to pages; returns the path of the index."""
    from siamese_med.ingestion import catalogue
    from siamese_med.reporting import cohort

    raise NotImplementedError


def compare(a: Path, b: Path, model: Path, study: Study) -> dict[str, Any]:
    """Two scans (NIfTI files or DICOM folders) to one comparison, without a catalogue."""
    raise NotImplementedError


def identify(scan: Path, model: Path, study: Study) -> dict[str, Any]:
    """Rank the enrolled patients (those of the catalogue) for one scan; nothing is retrained."""
    raise NotImplementedError


def newest_model(study: Study) -> Path:
    """The model that was trained last under this study's data folder; raises ModelError where there is none."""
    raise NotImplementedError
