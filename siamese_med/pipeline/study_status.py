"""State of a study: what it holds so far, and which command comes next. It is only read; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import InputError, MissingFileError, ModelError
from siamese_med.network.starter_model import is_starter_model
from siamese_med.pipeline import stages
from siamese_med.pipeline.stage_problems import describe_small_region
from siamese_med.pipeline.study_tables import NO_PAIRS, WHY_NO_PAIRS
from siamese_med.runtime.untrusted_input import read_untrusted_table
from siamese_med.study.model_info import read_model_info
from siamese_med.study.tables import Study
from siamese_med.training import current_model_record, model_registry

if TYPE_CHECKING:
    import pandas as pd

NEXT_COMMAND = {
    "scans": "siamese-med ingest INPUT",
    "aligned": "siamese-med prepare",
    "pairs": "siamese-med pair",
    "models": "siamese-med train",
    "scored_models": "siamese-med score",
    "reports": "siamese-med report",
}
"""The command to run next while a stage has left nothing, in the order of the stages."""
STEP_WITHOUT_PAIRS = (
    f"siamese-med ingest INPUT with further scans, then siamese-med pair: {NO_PAIRS}, and {WHY_NO_PAIRS}"
)
"""The next step where `pair` found no pair: no later stage can do anything then."""


def summarise_study(study: Study) -> Mapping[str, object]:
    """Count what each stage has left, and name the next step.

    Returns
    -------
    Mapping
        `account` (files by outcome), one count for each stage (`aligned`: of the scans that are there, those that fit
        the template of the model in use), the current model (and whether it is the starter model
        that comes with siamese-med) and the last one that was refused, the page on what came in, `next_step` (a
        command), and `reasons` for refused files with a hint for each.
    """
    known = _has_catalogue(study)
    scans, alignments = stages.scans(study) if known else None, _read_alignments(study)
    counts = {
        "patients": 0 if scans is None else int(scans["subject"].nunique()),
        "scans": 0 if scans is None else len(scans),
        "aligned": 0 if scans is None or alignments is None else _count_aligned(alignments, scans),
        "pairs": _rows(study.pairs),
        "models": sum(1 for _ in study.models.glob("*/model.json")),
        "scored_models": sum(
            not path.stem.endswith("_owners") for path in study.scores("any").parent.glob("*.parquet")
        ),
        "reports": sum(1 for _ in study.reports.glob("sub-*/*.html")),
    }
    current = _describe_current_model(study)
    # a stage that found nothing has been run: a second time it would find nothing again
    tables = {"aligned": alignments is not None, "pairs": study.pairs.is_file()}
    done = {**counts, **tables, "models": counts["models"] or current}
    step = next((command for name, command in NEXT_COMMAND.items() if not done[name]), "open the reports")
    if all(tables.values()) and counts["scans"] and not counts["pairs"]:
        step = STEP_WITHOUT_PAIRS
    step = str(current.get("next_step", step))
    account, reasons = _account(study) if known else ({}, [])
    page = str(study.files_page) if study.files_page.is_file() else None
    return {"account": account, **counts, **current, "files_page": page, "next_step": step, "reasons": reasons}


def _read_alignments(study: Study) -> pd.DataFrame | None:
    """The alignments to the template of the current model, else of the study; None where there are none."""
    there = list(study.prepared.glob("*/alignments.parquet"))
    if len(there) < 2:  # the usual case: without the import of torch, which takes longer than all of `status`
        return read_untrusted_table(there[0], ("scan",)) if there else None
    from siamese_med.network.model_folder import find_checked_template
    from siamese_med.preparation import aligned_volumes

    config = study.config.prepare
    templates = [config.template]
    with suppress(MissingFileError, ModelError):  # what is wrong with the model is said where it is used
        templates.insert(0, find_checked_template(model_registry.find_current_model(study)))
    read = (aligned_volumes.read_alignments(study.data, template, config) for template in templates)
    return next((table for table in read if table is not None), None)


def _count_aligned(alignments: pd.DataFrame, scans: pd.DataFrame) -> int:
    usable = alignments[alignments["ok"].astype(bool)] if "ok" in alignments else alignments[:0]
    return int(usable["scan"].isin(scans["id"]).sum())


def _describe_current_model(study: Study) -> Mapping[str, object]:
    """The current model, since when and why, and the last one that was refused; nothing where there is no model.

    Where the current model's folder is gone, its name and what to do, so that the rest of the study can be shown.
    """
    record, refused = current_model_record.read_current_record(study), model_registry.list_refused_models(study)
    last = next(reversed(refused), None)
    if record is None and not model_registry.has_model(study):
        return {}
    try:
        model = model_registry.find_current_model(study)
    except ModelError as error:
        return {"current_model": record.model if record else None, "next_step": str(error)}
    starter = is_starter_model(model)
    return {
        "current_model": model.name,
        "current_is_starter": starter,
        "current_since": record.since if record else None,
        "current_why": record.why if record else model_registry.STARTER_REASON if starter else "the newest",
        "last_refused": f"{last}, {refused[last].at}: {refused[last].why}" if last else None,
        **_describe_region(model),
    }


def _describe_region(model: Path) -> Mapping[str, object]:
    """Describe the region that the current model's identity network looks at; nothing where that was not recorded."""
    try:
        region = read_model_info(model).region
    except (MissingFileError, ModelError):  # whatever is wrong with the folder is said where the model is used
        return {}
    if region is None:
        return {}
    return {
        "current_region_ml": region.ml,
        "current_region_warning": describe_small_region(region) if region.is_small else None,
    }


def _account(study: Study) -> tuple[Mapping[str, int], Sequence[Mapping[str, object]]]:
    """Counts of files by outcome, and by reason with a hint what to do."""
    from siamese_med.ingestion import scan_checks
    from siamese_med.ingestion.catalogue import catalogue, inventory

    account = asdict(catalogue.read_account(study.catalogue_url))
    return account, inventory.list_reasons_with_hints(
        account.pop("reasons"), scan_checks.own_hints(study.config.ingest)
    )


def _has_catalogue(study: Study) -> bool:
    return study.config.ingest.database is not None or (study.data / "catalogue.sqlite").is_file()


def _rows(table: Path) -> int:
    """Rows of a Parquet file, from its footer."""
    if not table.is_file():
        return 0
    from pyarrow import parquet

    try:
        return int(parquet.read_metadata(table).num_rows)
    except (OSError, ValueError) as error:
        raise InputError(f"the table {table.name} cannot be read: remove it, and make it again") from error
