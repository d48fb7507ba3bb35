"""Write all pages of a study: tables -> data objects -> HTML -> files.

`write_reports` is the recipe. Modules in this table are relative to `siamese_med/reporting`, templates to
`render/templates`; `render/pages.py` fills a template with its data object.

===================  =========================================  ===============  =======================
page                 data built by                              template         written by
===================  =========================================  ===============  =======================
sub-*/report.html    data/patient.py build_patient_report       patient.html.j2  write/patient_folder.py
sub-*/pair-N.html    data/patient.py build_patient_report       step.html.j2     write/patient_folder.py
sub-*/report.pdf     data/patient.py build_patient_report       patient.html.j2  write/patient_folder.py
sub-*/viewer-N.html  render/viewer.py build_viewer_layers       viewer.html.j2   write/patient_folder.py
index.html           data/cohort_index.py build_cohort_index    index.html.j2    write/study_pages.py
model.html           data/model_page.py build_model_page        model.html.j2    write/study_pages.py
ingest.html          data/received_files.py build_ingest_page   ingest.html.j2   write/ingest_page.py
===================  =========================================  ===============  =======================

In a template the data object is `report`, `cohort`, `model` or `page`. Filters such as `fixed` are functions of
`formatting.py`, pictures are made by `render/slice_choice.py`, and charts by the modules of `charts`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from siamese_med.errors import InputError
from siamese_med.reporting.data import cohort_index, model_page, rejected_kinds, side_by_side, wrong_patient_alarms
from siamese_med.reporting.data.lesion_lines import assess_lesion_loads
from siamese_med.reporting.data.patient import build_patient_report
from siamese_med.reporting.model import metrics_file, reference_figures
from siamese_med.reporting.render import pages
from siamese_med.reporting.write import change_maps, json_schema, json_tsv, patient_folder, up_to_date
from siamese_med.reporting.write.patient_folder import PatientFolderJob
from siamese_med.reporting.write.up_to_date import FolderMarks
from siamese_med.runtime import files
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.study import table_cells
from siamese_med.study.reader_answers import read_stored_answers
from siamese_med.study.score_columns import read_scores
from siamese_med.study.tables import NO_REPORT_EXTRAS, SIGNIFICANCE_ATTRIBUTE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from siamese_med.reporting.data.cohort_index import CohortIndex
    from siamese_med.reporting.data.model_page import ModelPage
    from siamese_med.reporting.data.report_content import WrongPatientAlarm
    from siamese_med.reporting.data.side_by_side import WrongPatientComparison
    from siamese_med.study.config import ReportConfig
    from siamese_med.study.lesion import LesionState
    from siamese_med.study.pair_score import PairScore
    from siamese_med.study.tables import IngestAccount, ReportExtras

    Row = Mapping[str, object]

RUN_FILE = "run.json"
"""Record of the last run: when it was, its model, and the marks of every patient's folder."""
MIN_PATIENTS_FOR_WORKERS = 100
"""Number of patients from which it is faster to start other processes than to write the pages in this one."""


@dataclass(frozen=True)
class ReportInputs:
    """Everything that the pages of a study are written from.

    Parameters
    ----------
    reports
        The folder to write to.
    data
        The data folder, from which paths in the tables count.
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
    starter
        Whether the model is the one that comes with siamese-med; the pages say so.
    lesions
        The rows of the lesion table.
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
    starter: bool = False
    lesions: Sequence[LesionState] = ()


def write_reports(inputs: ReportInputs) -> Path:
    """Write every page and table of a study; the folders of patients that left the catalogue are removed.

    Folders that would not change are not written again, see `up_to_date`. Equal inputs give equal bytes, except for the
    time in run.json.

    Parameters
    ----------
    inputs
        The tables, and where everything is.

    Returns
    -------
    Path
        The index page.

    Raises
    ------
    ModelError
        The model's folder cannot be used; nothing is written then.
    InputError
        A subject of the catalogue is no pseudonym; nothing is written then.
    """
    reports, config = inputs.reports, inputs.config
    # Tables to data objects
    model = _describe_model(inputs)
    scans = _rows(inputs.scans)
    alarms = wrong_patient_alarms.list_wrong_patient_alarms(_rows(inputs.owners), scans, model.measured.comparisons)
    jobs = _patient_jobs(inputs, scans, model, alarms)
    patients = [job.report for job in jobs]
    cohort = cohort_index.build_cohort_index(
        config.title, patients, inputs.account, model.reference, model.claim, model.provenance
    )
    # Data objects to HTML, and HTML to files
    marks = _write_patient_folders(jobs, up_to_date.read_folder_marks(reports / RUN_FILE))
    subjects = sorted(job.folder.name for job in jobs)
    _remove_departed_patients(reports, set(subjects))
    change_maps.write_bids_files(reports, inputs.data / "scans", subjects)
    files.write_parquet_file(reports / "pairs.parquet", json_tsv.build_pairs_frame(patients))
    files.write_text_file(reports / "model.html", pages.render_model_page(model))
    pictures = side_by_side.build_wrong_patient_comparisons(alarms, scans, _rows(inputs.alignments), inputs.data)
    index = _write_index(reports, cohort, pictures)
    files.write_json_file(reports / RUN_FILE, _run_record(model.provenance.model, marks))
    return index


def _describe_model(inputs: ReportInputs) -> ModelPage:
    """The content of the model page; patients' pages and the index take the model's threshold and claim from it."""
    folder = reference_figures.read_model_folder(inputs.model)
    significance = table_cells.parse_number(inputs.scores.attrs.get(SIGNIFICANCE_ATTRIBUTE))
    return model_page.build_model_page(
        inputs.config.title,
        folder,
        metrics_file.read_model_figures(folder.info, folder.metrics),
        reference_figures.build_reference(folder.info, significance),
        reference_figures.build_provenance(folder, inputs.config, inputs.starter),
    )


def _patient_jobs(
    inputs: ReportInputs, scans: Sequence[Row], model: ModelPage, alarms: Sequence[WrongPatientAlarm]
) -> list[PatientFolderJob]:
    """The folders to write, in the order of their subjects."""
    scans_of, scores_of = _group_scans(scans), _group_scores(read_scores(inputs.scores))
    lesions_of: dict[str, list[LesionState]] = {}
    for state in inputs.lesions:
        lesions_of.setdefault(state.subject, []).append(state)
    aligned = {str(row["scan"]): row for row in _rows(inputs.alignments)}
    jobs = []
    for subject in sorted(scans_of):
        report = build_patient_report(
            _safe(subject),
            scans_of[subject],
            scores_of.get(subject, []),
            lesions_of.get(subject, []),
            aligned,
            alarms,
            inputs.config.title,
            model.reference,
            model.claim,
            model.provenance,
            read_stored_answers(inputs.data, subject),
        )
        assessed = tuple(assess_lesion_loads(line, inputs.config.response) for line in report.lesions)
        report = replace(report, lesions=assessed)
        folder = inputs.reports / subject
        jobs.append(PatientFolderJob(folder, report, scans_of[subject], inputs.data, inputs.config, inputs.extras))
    return _learn_from_answers(jobs) if inputs.config.learn_from_answers else jobs


def _learn_from_answers(jobs: Sequence[PatientFolderJob]) -> list[PatientFolderJob]:
    """Set findings aside by the answers of all patients."""
    reports = rejected_kinds.set_aside_rejected_kinds([job.report for job in jobs])
    return [replace(job, report=report) for job, report in zip(jobs, reports, strict=True)]


def _write_patient_folders(
    jobs: Sequence[PatientFolderJob], before: Mapping[str, FolderMarks]
) -> dict[str, FolderMarks]:
    """Write the folders that would change; returns the marks of all folders by subject."""
    made_from = {job.folder.name: up_to_date.digest_folder_inputs(job) for job in jobs}

    def marks(job: PatientFolderJob) -> FolderMarks:
        return FolderMarks(made_from[job.folder.name], up_to_date.digest_folder_files(job.folder))

    waiting = [job for job in jobs if before.get(job.folder.name) != marks(job)]
    few = len(waiting) < MIN_PATIENTS_FOR_WORKERS and not any(job.extras.viewer or job.extras.pdf for job in waiting)
    for _ in run_in_parallel(patient_folder.write_patient_folder, waiting, "writing reports", 1 if few else None):
        pass
    kept = {name: before[name] for name in made_from if name in before}
    return kept | {job.folder.name: marks(job) for job in waiting}


def _run_record(model: str, marks: Mapping[str, FolderMarks]) -> Mapping[str, object]:
    """The content of run.json. It alone has the time, so that the same data give the same bytes in all other files."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"written": now, "model": model, "patients": len(marks), "folders": marks}


def _rows(frame: pd.DataFrame) -> list[Row]:
    return [{str(name): cell for name, cell in row.items()} for row in frame.to_dict("records")]


def _group_scans(scans: Sequence[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in scans:
        grouped.setdefault(str(row["subject"]), []).append(row)
    return grouped


def _group_scores(scores: Sequence[PairScore]) -> dict[str, list[PairScore]]:
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


def _write_index(reports: Path, cohort: CohortIndex, pictures: Sequence[WrongPatientComparison]) -> Path:
    """Write the index page, and the tables, schemas and data dictionary beside it."""
    files.write_json_file(reports / "cohort.json", json_tsv.serialise_cohort_index(cohort))
    files.write_text_file(reports / "cohort.tsv", json_tsv.format_cohort_tsv(cohort.rows))
    files.write_json_file(reports / "pairs.json", json_tsv.build_pairs_dictionary())
    for kind in json_schema.SCHEMA_TYPES:
        files.write_text_file(reports / f"{kind}.schema.json", json_schema.format_json_schema(kind))
    files.write_text_file(reports / "index.html", pages.render_index_page(cohort, pictures))
    return reports / "index.html"


def _remove_departed_patients(reports: Path, subjects: set[str]) -> None:
    for left in reports.glob("sub-*"):
        if left.name not in subjects and (left / "report.html").is_file():
            patient_folder.remove_stale_files(left, set())
