"""Fill in a reporting checklist from the model and the study; it reads only and writes nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from siamese_med.errors import EmptyInputError
from siamese_med.network.starter_model import is_starter_model
from siamese_med.reporting.checklist import answered_checklist
from siamese_med.reporting.checklist.checklist_item import ChecklistTopic, ReportingGuideline
from siamese_med.reporting.checklist.claim_items import CLAIM_2024
from siamese_med.reporting.checklist.model_facts import Facts, compose_model_facts
from siamese_med.reporting.checklist.study_facts import StudyTablesForChecklist, compose_study_facts
from siamese_med.reporting.checklist.tripod_items import TRIPOD_AI
from siamese_med.study import table_cells
from siamese_med.study.model_info import ModelInfo, read_model_info
from siamese_med.study.model_metrics import read_model_metrics
from siamese_med.study.score_tables import read_score_tables
from siamese_med.study.tables import SIGNIFICANCE_ATTRIBUTE, Study
from siamese_med.study.vocabulary import GuidelineName

GUIDELINES: Mapping[GuidelineName, ReportingGuideline] = {
    GuidelineName.CLAIM: CLAIM_2024,
    GuidelineName.TRIPOD_AI: TRIPOD_AI,
}


def fill_in_checklist(name: GuidelineName, model: Path, study: Study) -> tuple[Mapping[str, object], str]:
    """Fill in a guideline from what a model folder and a study hold.

    Parameters
    ----------
    name
        Of the guideline.
    model
        Folder of the model.
    study
        May be empty: then only the model is known.

    Returns
    -------
    tuple
        What `--json` prints, and the Markdown.

    Raises
    ------
    MissingFileError, ModelError
        The model folder cannot be read.
    """
    info, guideline = read_model_info(model), GUIDELINES[name]
    tables = _read_tables(study, info)
    parts = [
        compose_model_facts(info, read_model_metrics(model), is_starter_model(model), _read_significance(tables)),
        {ChecklistTopic.SOFTWARE: [_describe_machine()]},
        *([] if tables is None else [compose_study_facts(tables)]),
    ]
    answers = answered_checklist.answer_items(guideline, _join(parts))
    facts = {"model": info.id, "study_read": tables is not None, **answered_checklist.list_answers(guideline, answers)}
    return facts, answered_checklist.format_checklist(guideline, answers, info.id)


def _join(parts: list[Facts]) -> Facts:
    return {topic: [text for part in parts for text in part.get(topic, ())] for topic in ChecklistTopic}


def _read_tables(study: Study, info: ModelInfo) -> StudyTablesForChecklist | None:
    """The tables of the study; None where nothing was ingested yet."""
    from siamese_med.ingestion.catalogue import catalogue, face_setting
    from siamese_med.pipeline.study_tables import StudyTables

    try:
        scans = StudyTables(study).read_scans()
    except EmptyInputError:
        return None
    try:
        scores, _ = read_score_tables(study, info)
    except EmptyInputError:
        scores = None
    return StudyTablesForChecklist(
        scans=scans,
        account=catalogue.read_account(study.catalogue_url),
        scores=scores,
        defaced=face_setting.read_face_setting(study.catalogue_url),
        learned_from=frozenset(info.learned_from),
    )


def _read_significance(tables: StudyTablesForChecklist | None) -> float | None:
    """The limit of p by which the study's verdicts were given; None where there are none."""
    scores = None if tables is None else tables.scores
    return None if scores is None else table_cells.parse_number(scores.attrs.get(SIGNIFICANCE_ATTRIBUTE))


def _describe_machine() -> str:
    return (
        f"This checklist was filled in on a machine with {os.cpu_count()} CPU cores, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}."
    )
