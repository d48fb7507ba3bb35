"""All pages of a study: one folder a patient, the index, the model page and the tables."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from siamese_med import appraisal, cells, claims, files
from siamese_med.errors import InputError
from siamese_med.parallel import in_parallel
from siamese_med.records import SIGNIFICANCE
from siamese_med.reporting import (
    alarms,
    lineups,
    maps,
    outputs,
    overview,
    pages,
    performance,
    references,
    renewal,
    schema,
)
from siamese_med.reporting import folder as folders
from siamese_med.reporting.folder import Job
from siamese_med.reporting.patient import patient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from siamese_med.config import ReportConfig
    from siamese_med.records import Account, Extras
    from siamese_med.reporting.lineups import Lineup
    from siamese_med.reporting.renewal import Marks


RUN = "run.json"
MANY = 100
"""Patients whose plain pages take longer than starting other processes does."""


def write_reports(
    reports: Path,
    data: Path,
    model: Path,
    scans: pd.DataFrame,
    scores: pd.DataFrame,
    alignments: pd.DataFrame,
    owners: pd.DataFrame,
    account: Account,
    config: ReportConfig,
    extras: Extras,
) -> Path:
    """Write every page and table; pages of patients that left the catalogue go. Returns the path of the index.

    Equal input gives equal bytes. Paths in the tables are relative to `data`. Raises ModelError and InputError.
    """
    folder = references.read(model)
    reference = references.reference(folder.model, cells.number(scores.attrs.get(SIGNIFICANCE)))
    measured, provenance = appraisal.read(folder.model, folder.metrics), references.provenance(folder, config)
    shown = performance.performance(config.title, folder, measured, reference, provenance)  # first: it may refuse
    claim = claims.headline(measured)
    raised = alarms.alarms(_rows(owners), _rows(scans), measured.comparisons)
    scans_of, scores_of = _by(scans, "subject"), _by(scores, "subject_a")
    placed = _rows(alignments)
    aligned = {str(row["scan"]): row for row in placed}
    jobs = []
    for subject in sorted(scans_of):
        report = patient(
            _safe(subject),
            scans_of[subject],
            scores_of.get(subject, []),
            aligned,
            raised,
            config.title,
            reference,
            claim,
            provenance,
        )
        jobs.append(Job(reports / subject, report, scans_of[subject], data, config, extras))
    marks = _write_folders(jobs, renewal.read(reports / RUN))
    written = [job.report for job in jobs]
    _remove_departed(reports, set(scans_of))
    maps.write_frame(reports, data / "scans", sorted(scans_of))
    files.write_parquet(reports / "pairs.parquet", outputs.pairs_frame(written))
    files.write_text(reports / "model.html", pages.model_page(shown))
    shown_cohort = overview.cohort(config.title, written, account, reference, claim, provenance)
    index = _write_index(reports, shown_cohort, lineups.lineups(raised, _rows(scans), placed, data))
    files.write_json(reports / RUN, _run(provenance.model, marks))
    return index


def _write_folders(jobs: Sequence[Job], before: Mapping[str, Marks]) -> dict[str, Marks]:
    """Write the folders that would not come out as they lie there; returns the marks of all by subject."""
    made_from = {job.folder.name: renewal.made_from(job) for job in jobs}

    def marks(job: Job) -> Marks:
        return made_from[job.folder.name], renewal.as_left(job.folder)

    waiting = [job for job in jobs if before.get(job.folder.name) != marks(job)]
    few = len(waiting) < MANY and not any(job.extras.viewer or job.extras.pdf for job in waiting)
    for _ in in_parallel(folders.write, waiting, "writing reports", 1 if few else None):
        pass
    kept = {name: before[name] for name in made_from if name in before}
    return kept | {job.folder.name: marks(job) for job in waiting}


def _run(model: str, marks: Mapping[str, Marks]) -> dict[str, Any]:
    """When the reports were written, which stands nowhere else: so the same data give the same bytes elsewhere."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"written": now, "model": model, "patients": len(marks), "folders": marks}


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): cell for name, cell in row.items()} for row in frame.to_dict("records")]


def _by(frame: pd.DataFrame, column: str) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in _rows(frame):
        grouped.setdefault(str(row[column]), []).append(row)
    return grouped


def _safe(subject: str) -> str:
    """A subject that may become a folder's name."""
    if not re.fullmatch(r"sub-[A-Za-z0-9]+", subject):
        raise InputError(
            "the catalogue holds a subject that is no pseudonym (sub- and letters or digits): ingest again"
        )
    return subject


def _write_index(reports: Path, cohort: overview.Cohort, shown: Sequence[Lineup]) -> Path:
    files.write_json(reports / "cohort.json", outputs.cohort(cohort))
    files.write_text(reports / "cohort.tsv", outputs.cohort_tsv(cohort.rows))
    files.write_json(reports / "pairs.json", outputs.pairs_dictionary())
    for kind in schema.KINDS:
        files.write_json(reports / f"{kind}.schema.json", schema.of(kind))
    files.write_text(reports / "index.html", pages.index_page(cohort, shown))
    return reports / "index.html"


def _remove_departed(reports: Path, subjects: set[str]) -> None:
    for left in reports.glob("sub-*"):
        if left.name not in subjects and (left / "report.html").is_file():
            folders.clear(left, set())
