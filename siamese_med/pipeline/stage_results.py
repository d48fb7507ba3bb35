"""Meaning of a stage's result: facts for people and programs, what is unfinished, and which checks failed.

`run_stages_in_order` runs a list of stage names. `_STAGES`, at the end, says which function a name calls: `_ingest`
calls `stages.ingest` and describes its result, and so on. The command line turns a StageResult into an exit code, and
the flows turn it into a Prefect state, so the two agree.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med.errors import NothingUsableError
from siamese_med.network.starter_model import STARTER_NAME, is_starter_model
from siamese_med.pipeline import stages
from siamese_med.pipeline.stage_facts import (
    IngestFacts,
    MisalignedScan,
    PairFacts,
    PrepareFacts,
    PromoteFacts,
    ReportFacts,
    RunFacts,
    ScoreFacts,
    StageFacts,
    TrainFacts,
    TransferFacts,
    describe_scan,
    list_changed_pairs,
    list_doubtful_scans,
)
from siamese_med.pipeline.stage_problems import (
    describe_problem,
    list_face_problems,
    list_identity_doubts,
    list_identity_problems,
    list_model_doubts,
    list_transfer_problems,
)
from siamese_med.pipeline.study_tables import NO_PAIRS, WHY_NO_PAIRS, StudyTables
from siamese_med.plugins import check_named
from siamese_med.runtime.progress import log_step
from siamese_med.study.input_source import Pull
from siamese_med.study.model_info import read_model_info
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import NO_REPORT_EXTRAS, ReportExtras, Study
from siamese_med.study.vocabulary import SAME_PATIENT, NotComparable
from siamese_med.training import model_registry

if TYPE_CHECKING:
    import pandas as pd

STAGE_NAMES = ("ingest", "prepare", "pair", "train", "score", "report")
"""The stages, in the order in which they run."""

RETRAIN_STAGES = ("prepare", "pair", "train", "promote", "score", "report")
"""The stages of a retraining: a new model is trained, replaces the current one if it is not worse, and pages follow."""

RUN_STAGES = ("ingest", *RETRAIN_STAGES)
"""The stages of a run: what came in is ingested, and then as in a retraining."""


@dataclass(frozen=True)
class RunRequest:
    """Input, model and options of a requested run."""

    study: Study
    source: Path | Pull | None = None  # the input of `ingest`
    model: Path | None = None  # folder of the model to use; None: the current one
    verify: bool = False  # read files again that seem unchanged
    extras: ReportExtras = NO_REPORT_EXTRAS
    candidate: bool = False  # a model is trained if there are enough patients, and has to be promoted before it is used
    tables: StudyTables | None = field(default=None, compare=False, repr=False)  # what the run has read so far
    deface: bool = False  # faces are removed by `ingest`; else as the configuration or the last ingest says


@dataclass(frozen=True)
class StageResult:
    """The result of one stage."""

    verb: str  # the stage's name
    facts: StageFacts  # what `--json` prints
    unfinished: tuple[str, ...] = ()  # what could not be done, one line each; any makes the run a partial one
    failed_checks: tuple[str, ...] = ()  # doubts about the result, one line each; failures with `--strict`
    model: Path | None = None  # what the later stages use; None: as before
    result: Any = field(default=None, repr=False)  # what the stage's function returned
    seconds: float = 0.0  # wall-clock time


StageResults = tuple[StageResult, ...]
StageRunner = Callable[[str, RunRequest], StageResult]


def select_stages(model: Path | None) -> tuple[str, ...]:
    """Return the names of the stages of a run: all, or without training where a model is given.

    Examples
    --------
    >>> select_stages(None)
    ('ingest', 'prepare', 'pair', 'train', 'promote', 'score', 'report')
    >>> select_stages(Path("data/models/supcon-0123456789ab"))
    ('ingest', 'prepare', 'pair', 'score', 'report')
    """
    return RUN_STAGES if model is None else tuple(verb for verb in STAGE_NAMES if verb != "train")


def run_stage(verb: str, order: RunRequest) -> StageResult:
    """Run one stage by its name and say what its result means; raises what the stage raises.

    Examples
    --------
    >>> run_stage("ingest", RunRequest(Study()))
    Traceback (most recent call last):
    ...
    siamese_med.errors.NothingUsableError: no input was named: give a folder or a CSV manifest
    """
    started = time.perf_counter()
    outcome = _STAGES[verb](order)
    return replace(outcome, seconds=round(time.perf_counter() - started, 3))


def run_stages_in_order(verbs: Sequence[str], order: RunRequest, perform_one: StageRunner = run_stage) -> StageResults:
    """Run stages, given by name, one after the other; the later ones use the model that an earlier one trained.

    `perform_one` runs one stage; the flows give a function that records it. What one stage reads of the study's tables,
    the later ones do not read again. A model that is trained before a promotion is a candidate. Raises PluginError
    before the first stage if a plug-in cannot be imported.
    """
    check_named(order.study.config)
    done: list[StageResult] = []
    order = replace(order, tables=StudyTables(order.study), candidate=order.candidate or "promote" in verbs)
    for verb in verbs:
        done.append(perform_one(verb, order))
        log_step(verb, done[-1].seconds, verbs[len(done) :])
        order = replace(order, model=done[-1].model or order.model)
    return tuple(done)


def summarise_run(done: StageResults) -> RunFacts:
    """Return a whole run in one object: seconds a stage, account of the files, model, verdicts, alarms, pages.

    Raises
    ------
    KeyError
        Prepare, score or report is not among what was done.
    """
    facts = {outcome.verb: outcome.facts for outcome in done}
    prepared, scored, reported = facts["prepare"], facts["score"], facts["report"]
    assert "aligned" in prepared
    assert "verdicts" in scored
    assert "index" in reported
    return {
        "seconds": {outcome.verb: outcome.seconds for outcome in done},
        "account": {name: value for name, value in facts.get("ingest", {}).items() if name != "scans"},
        "aligned": prepared["aligned"],
        "pairs": scored["pairs"],
        "comparable": scored["comparable"],
        "verdicts": scored["verdicts"],
        "alarms": scored["alarms"],
        "wrong_patient": scored["wrong_patient"],
        "training": _summarise_training(facts),
        "model": scored["model"],
        "starter": is_starter_model(Path(scored["model"])),
        "reports": reported["index"],
    }


def _summarise_training(facts: Mapping[str, StageFacts]) -> str | None:
    """Summarise what became of training in a run, in one line; return None where the run was given a model."""
    trained, decided = facts.get("train"), facts.get("promote")
    if trained is None or decided is None:
        return None
    assert "region_ml" in trained
    assert "promoted" in decided
    current = decided["current_model"]
    in_use = f"{current}, which comes with siamese-med" if current == STARTER_NAME else current
    if trained["model"] is None:
        return f"none: {trained['why_not']}; the model in use is {in_use}"
    if decided["promoted"]:
        return f"{current} is used: {decided['why']}"
    return f"{decided['candidate']} is not used: {decided['why']}; the model in use is {in_use}"


def _ingest(order: RunRequest) -> StageResult:
    if order.source is None:
        raise NothingUsableError("no input was named: give a folder or a CSV manifest")
    result = stages.ingest(order.source, order.study, order.verify, order.deface)
    account = result.account
    transfer: TransferFacts = {"transfer": asdict(result.transfer)} if result.transfer else {}
    facts: IngestFacts = {
        "files_seen": account.files_seen,
        "ingested": account.ingested,
        "skipped": account.skipped,
        "duplicate": account.duplicate,
        "quarantined": account.quarantined,
        "reasons": dict(account.reasons),
        **transfer,
        "scans": [describe_scan(row) for row in sorted(result.scan_rows, key=lambda row: str(row["id"]))],
    }
    if not facts["scans"]:
        words = ", ".join(sorted(account.reasons)) or "no file"
        raise NothingUsableError(f"none of {account.files_seen} files makes up a scan ({words})", facts)
    problems = describe_problem(account.quarantined, "file", "quarantined: `siamese-med status` lists the reasons")
    problems += (*list_identity_problems(facts["scans"]), *list_face_problems(result.faces_left))
    problems += list_transfer_problems(result.transfer) if result.transfer else ()
    doubts = list_identity_doubts(facts["scans"])
    return StageResult("ingest", facts, problems, (*problems, *doubts), result=result)


def _prepare(order: RunRequest) -> StageResult:
    model = order.model
    if order.candidate and model is None and not stages.may_train(order.study, order.tables):
        model = stages.current_model(order.study)  # nothing will be trained, so the study's own template is of no use
    result = stages.prepare(order.study, model, order.tables)
    wrong = result.alignments.loc[~result.alignments["ok"].astype(bool)]
    failed: list[MisalignedScan] = [{"scan": row.scan, "quality": row.quality} for row in wrong.itertuples()]
    facts: PrepareFacts = {
        "scans": len(result.alignments),
        "aligned": len(result.alignments) - len(failed),
        "failed": failed,
        "template": str(result.template),
    }
    problems = describe_problem(len(failed), "scan", f"not aligned{_misfit(len(failed), model, result)}")
    return StageResult("prepare", facts, problems, problems, result=result)


def _misfit(failed: int, model: Path | None, result: PreparedStudy) -> str:
    """Advise what to do where the model's template, rather than single scans, is at fault; empty otherwise."""
    if model is None or 2 * failed <= len(result.alignments):
        return ""
    return ": they do not fit this model's template, so train on this study, or lower prepare.min_quality"


def _pair(order: RunRequest) -> StageResult:
    pairs = stages.build_pairs(order.study, order.tables)
    facts: PairFacts = {"pairs": len(pairs), "kinds": _counts(pairs["kind"]), "splits": _counts(pairs["split"])}
    return StageResult("pair", facts, (), (f"{NO_PAIRS}: {WHY_NO_PAIRS}",) if pairs.empty else (), result=pairs)


def _train(order: RunRequest) -> StageResult:
    """Too few patients to train on are no failure where a candidate was asked for: the current model is used then."""
    if order.candidate and (obstacle := stages.find_training_obstacle(order.study, order.tables)):
        return StageResult("train", {"model": None, "region_ml": None, "why_not": obstacle})
    model = stages.train(order.study, order.candidate, order.tables)
    refused = None if order.candidate else model_registry.list_refused_models(order.study).get(model.name)
    region = read_model_info(model).region
    facts: TrainFacts = {"model": str(model), "region_ml": None if region is None else region.ml}
    if refused is None:
        # doubts about a candidate matter once it is used: the score stage lists those of the model in use
        return StageResult("train", facts, (), () if order.candidate else list_model_doubts(model), model)
    current = stages.current_model(order.study)
    advice = f"{model.name} was refused before ({refused.why}): `siamese-med promote` makes it the current model"
    return StageResult("train", {**facts, "current_model": str(current)}, (), (advice,), current)


def _promote(order: RunRequest) -> StageResult:
    """A refused model is an answer, not a failure; the stages after this one use the current model."""
    if order.model is None:
        return _keep_current_model(order.study)
    model, decision = stages.promote_candidate(order.study, order.model, order.tables)
    facts: PromoteFacts = {
        "candidate": order.model.name,
        "current_model": model.name,  # no path: it goes into Prefect's records
        "promoted": decision.promoted,
        "why": decision.why,
        "patients": decision.patients,
        "scans": decision.scans,
        "figures": decision.figures,
    }
    return StageResult("promote", facts, model=model, result=decision)


def _keep_current_model(study: Study) -> StageResult:
    """Return the result of `promote` where no candidate was trained."""
    current = stages.current_model(study)
    facts: PromoteFacts = {
        "candidate": None,
        "current_model": current.name,
        "promoted": False,
        "why": "no candidate was trained",
        "patients": 0,
        "scans": 0,
        "figures": {},
    }
    return StageResult("promote", facts, model=current)


def _score(order: RunRequest) -> StageResult:
    model = order.model or stages.current_model(order.study)
    scores = stages.score(order.study, model, order.tables)
    reasons = _counts(scores["reasons"].explode())
    identity = read_model_info(model).id
    alarmed = list_doubtful_scans(order.study.owners(identity))
    facts: ScoreFacts = {
        "pairs": len(scores),
        "comparable": int(scores["comparable"].sum()),
        "reasons": reasons,
        "verdicts": _counts(scores["verdict"]),
        "changed": list_changed_pairs(scores),
        "alarms": len(alarmed),
        "wrong_patient": alarmed,
        "model": str(model),
        "scores": str(order.study.scores(identity)),
    }
    own = scores[scores["kind"].isin(SAME_PATIENT)]  # pairs of two patients are there for the test of identity alone
    failed = _counts(own["reasons"].explode()).get(NotComparable.PAIR_ALIGNMENT_FAILED, 0)
    problems = describe_problem(
        failed, "pair", "not judged because the two scans could not be registered to each other"
    )
    return StageResult("score", facts, problems, list_model_doubts(model), model, scores)


def _report(order: RunRequest) -> StageResult:
    model = order.model or stages.current_model(order.study)
    result = stages.report(order.study, model, order.extras, order.source, order.tables)
    patients = sum(1 for folder in order.study.reports.glob("sub-*") if folder.is_dir())
    facts: ReportFacts = {"index": str(result.index), "patients": patients}
    if result.dicom:
        facts["dicom"] = dict(result.dicom)
    left_out = result.dicom["left_out"] if result.dicom else {}
    problems = (
        *describe_problem(
            left_out.get("source_missing", 0), "follow-up", "without objects: its files are not as ingested"
        ),
        *describe_problem(
            left_out.get("not_encodable", 0), "follow-up", "without objects: a header does not fit into one"
        ),
    )
    return StageResult("report", facts, problems, problems, model, result.index)


_STAGES: Mapping[str, Callable[[RunRequest], StageResult]] = {
    "ingest": _ingest,
    "prepare": _prepare,
    "pair": _pair,
    "train": _train,
    "promote": _promote,
    "score": _score,
    "report": _report,
}
"""The function that runs each stage; each of them calls the stage in `stages` and describes its result."""


def _counts(column: pd.Series[Any]) -> dict[str, int]:
    return {str(word): int(count) for word, count in column.dropna().value_counts().items()}
