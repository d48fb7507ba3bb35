"""All pages of a study: one folder a patient, the index, the model page and the tables."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from siamese_med.errors import InputError
from siamese_med.reporting import table_cells
from siamese_med.reporting.data import cohort_index, model_page, side_by_side, wrong_patient_alarms
from siamese_med.reporting.data.patient import build_patient_report
from siamese_med.reporting.model import metrics_file, reference_figures, statements
from siamese_med.reporting.render import pages
from siamese_med.reporting.write import change_maps, json_schema, json_tsv, up_to_date
from siamese_med.reporting.write import patient_folder as folders
from siamese_med.reporting.write.patient_folder import PatientFolderJob
from siamese_med.runtime import files
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.study.tables import SIGNIFICANCE_ATTRIBUTE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from siamese_med.reporting.data.side_by_side import WrongPatientComparison
    from siamese_med.reporting.write.up_to_date import FolderMarks
    from siamese_med.study.config import ReportConfig
    from siamese_med.study.tables import IngestAccount, ReportExtras


RUN_FILE = "run.json"
MIN_PATIENTS_FOR_WORKERS = 100
"""Patients whose plain pages take longer than starting other processes does."""


def write_reports(
    reports: Path,
    data: Path,
    model: Path,
    scans: pd.DataFrame,
    scores: pd.DataFrame,
    alignments: pd.DataFrame,
    owners: pd.DataFrame,
    account: IngestAccount,
    config: ReportConfig,
    extras: ReportExtras,
) -> Path:
    """Write every page and table; pages of patients that left the catalogue go. Returns the path of the index.

    Equal input gives equal bytes. Paths in the tables are relative to `data`. Raises ModelError and InputError.
    """
    folder = reference_figures.read_model_folder(model)
    reference = reference_figures.build_reference(
        folder.info, table_cells.parse_number(scores.attrs.get(SIGNIFICANCE_ATTRIBUTE))
    )
    measured, provenance = (
        metrics_file.read_model_figures(folder.info, folder.metrics),
        reference_figures.build_provenance(folder, config),
    )
    shown = model_page.build_model_page(config.title, folder, measured, reference, provenance)  # first: it may refuse
    claim = statements.compose_model_headline(measured)
    raised = wrong_patient_alarms.list_wrong_patient_alarms(_rows(owners), _rows(scans), measured.comparisons)
    scans_of, scores_of = _by(scans, "subject"), _by(scores, "subject_a")
    placed = _rows(alignments)
    aligned = {str(row["scan"]): row for row in placed}
    jobs = []
    for subject in sorted(scans_of):
        report = build_patient_report(
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
        jobs.append(PatientFolderJob(reports / subject, report, scans_of[subject], data, config, extras))
    marks = _write_folders(jobs, up_to_date.read_folder_marks(reports / RUN_FILE))
    written = [job.report for job in jobs]
    _remove_departed(reports, set(scans_of))
    change_maps.write_bids_files(reports, data / "scans", sorted(scans_of))
    files.write_parquet_file(reports / "pairs.parquet", json_tsv.build_pairs_frame(written))
    files.write_text_file(reports / "model.html", pages.render_model_page(shown))
    shown_cohort = cohort_index.build_cohort_index(config.title, written, account, reference, claim, provenance)
    index = _write_index(
        reports, shown_cohort, side_by_side.build_wrong_patient_comparisons(raised, _rows(scans), placed, data)
    )
    files.write_json_file(reports / RUN_FILE, _run(provenance.model, marks))
    return index


def _write_folders(jobs: Sequence[PatientFolderJob], before: Mapping[str, FolderMarks]) -> dict[str, FolderMarks]:
    """Write the folders that would not come out as they lie there; returns the marks of all by subject."""
    made_from = {job.folder.name: up_to_date.digest_folder_inputs(job) for job in jobs}

    def marks(job: PatientFolderJob) -> FolderMarks:
        return made_from[job.folder.name], up_to_date.digest_folder_files(job.folder)

    waiting = [job for job in jobs if before.get(job.folder.name) != marks(job)]
    few = len(waiting) < MIN_PATIENTS_FOR_WORKERS and not any(job.extras.viewer or job.extras.pdf for job in waiting)
    for _ in run_in_parallel(folders.write_patient_folder, waiting, "writing reports", 1 if few else None):
        pass
    kept = {name: before[name] for name in made_from if name in before}
    return kept | {job.folder.name: marks(job) for job in waiting}


def _run(model: str, marks: Mapping[str, FolderMarks]) -> dict[str, Any]:
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


def _write_index(reports: Path, cohort: cohort_index.CohortIndex, shown: Sequence[WrongPatientComparison]) -> Path:
    files.write_json_file(reports / "cohort.json", json_tsv.serialise_cohort_index(cohort))
    files.write_text_file(reports / "cohort.tsv", json_tsv.format_cohort_tsv(cohort.rows))
    files.write_json_file(reports / "pairs.json", json_tsv.build_pairs_dictionary())
    for kind in json_schema.SCHEMA_TYPES:
        files.write_json_file(reports / f"{kind}.schema.json", json_schema.build_json_schema(kind))
    files.write_text_file(reports / "index.html", pages.render_index_page(cohort, shown))
    return reports / "index.html"


def _remove_departed(reports: Path, subjects: set[str]) -> None:
    for left in reports.glob("sub-*"):
        if left.name not in subjects and (left / "report.html").is_file():
            folders.remove_stale_files(left, set())
