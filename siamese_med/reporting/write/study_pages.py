"""All pages of a study: one folder a patient, the index, the model page and the tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from siamese_med.errors import InputError
from siamese_med.reporting.data import cohort_index, model_page, wrong_patient_alarms
from siamese_med.reporting.data import side_by_side as lineups
from siamese_med.reporting.data.patient import build_patient_report
from siamese_med.reporting.model import metrics_file, reference_figures, statements
from siamese_med.reporting.render import pages
from siamese_med.reporting.write import change_maps, json_schema, json_tsv, up_to_date
from siamese_med.reporting.write import patient_folder as folders
from siamese_med.reporting.write.patient_folder import PatientFolderJob
from siamese_med.runtime import files
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.study import table_cells
from siamese_med.study.score_columns import read_scores
from siamese_med.study.tables import NO_REPORT_EXTRAS, SIGNIFICANCE_ATTRIBUTE, IngestAccount, ReportExtras

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from siamese_med.reporting.data.report_content import Provenance, ReportReference, WrongPatientAlarm
    from siamese_med.reporting.data.side_by_side import WrongPatientComparison
    from siamese_med.reporting.model.statements import ModelHeadline
    from siamese_med.reporting.write.up_to_date import FolderMarks
    from siamese_med.study.config import ReportConfig
    from siamese_med.study.pair_score import PairScore
    from siamese_med.study.tables import IngestAccount, ReportExtras


RUN_FILE = "run.json"
MIN_PATIENTS_FOR_WORKERS = 100
"""Patients whose plain pages take longer than starting other processes does."""


@dataclass(frozen=True)
class ReportInputs:
    """What the pages of a study are written from.

    Parameters
    ----------
    reports
        The folder to write to.
    data
        The data folder; paths in the tables count from it.
    model
        Folder of the model that the scores come from.
    scans
        The scan table, with tables.SCAN_COLUMNS.
    scores
        The score table, with tables.SCORE_COLUMNS.
    alignments
        The alignment table, with prepared_scans.ALIGNMENT_COLUMNS.
    owners
        The owner table, with tables.OWNER_COLUMNS.
    account
        What became of every file that was ingested.
    config
        The `report` section of the configuration.
    extras
        What is written only on request.
    """

    reports: Path
    data: Path
    model: Path
    scans: pd.DataFrame
    scores: pd.DataFrame
    alignments: pd.DataFrame
    owners: pd.DataFrame
    account: IngestAccount
    config: ReportConfig
    extras: ReportExtras = NO_REPORT_EXTRAS


def write_reports(inputs: ReportInputs) -> Path:
    """Write every page and table; pages of patients that left the catalogue go.

    Equal input gives equal bytes.

    Parameters
    ----------
    inputs
        The tables and where everything lies.

    Returns
    -------
    Path
        The index page.

    Raises
    ------
    ModelError
        Where the model's folder cannot be used.
    InputError
        Where a subject of the catalogue is no pseudonym.
    """
    reports, config = inputs.reports, inputs.config
    folder = reference_figures.read_model_folder(inputs.model)
    reference = reference_figures.build_reference(
        folder.info, table_cells.parse_number(inputs.scores.attrs.get(SIGNIFICANCE_ATTRIBUTE))
    )
    measured, provenance = (
        metrics_file.read_model_figures(folder.info, folder.metrics),
        reference_figures.build_provenance(folder, config),
    )
    shown = model_page.build_model_page(config.title, folder, measured, reference, provenance)  # first: it may refuse
    claim = statements.compose_model_headline(measured)
    raised = wrong_patient_alarms.list_wrong_patient_alarms(
        _rows(inputs.owners), _rows(inputs.scans), measured.comparisons
    )
    jobs = _patient_jobs(inputs, raised, reference, claim, provenance)
    marks = _write_folders(jobs, up_to_date.read_folder_marks(reports / RUN_FILE))
    written = [job.report for job in jobs]
    subjects = sorted(job.folder.name for job in jobs)
    _remove_departed(reports, set(subjects))
    change_maps.write_bids_files(reports, inputs.data / "scans", subjects)
    files.write_parquet_file(reports / "pairs.parquet", json_tsv.build_pairs_frame(written))
    files.write_text_file(reports / "model.html", pages.render_model_page(shown))
    shown_cohort = cohort_index.build_cohort_index(config.title, written, inputs.account, reference, claim, provenance)
    side_by_side = lineups.build_wrong_patient_comparisons(
        raised, _rows(inputs.scans), _rows(inputs.alignments), inputs.data
    )
    index = _write_index(reports, shown_cohort, side_by_side)
    files.write_json_file(reports / RUN_FILE, _run(provenance.model, marks))
    return index


def _patient_jobs(
    inputs: ReportInputs,
    raised: Sequence[WrongPatientAlarm],
    reference: ReportReference,
    claim: ModelHeadline,
    provenance: Provenance,
) -> list[PatientFolderJob]:
    """The folders to write, in the order of their subjects."""
    scans_of, scores_of = _by(inputs.scans, "subject"), _by_subject(read_scores(inputs.scores))
    aligned = {str(row["scan"]): row for row in _rows(inputs.alignments)}
    jobs = []
    for subject in sorted(scans_of):
        report = build_patient_report(
            _safe(subject),
            scans_of[subject],
            scores_of.get(subject, []),
            aligned,
            raised,
            inputs.config.title,
            reference,
            claim,
            provenance,
        )
        folder = inputs.reports / subject
        jobs.append(PatientFolderJob(folder, report, scans_of[subject], inputs.data, inputs.config, inputs.extras))
    return jobs


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


def _by_subject(scores: Sequence[PairScore]) -> dict[str, list[PairScore]]:
    grouped: dict[str, list[PairScore]] = {}
    for score in scores:
        grouped.setdefault(score.subject_a, []).append(score)
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
