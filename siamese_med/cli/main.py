"""The commands for the six stages, `run`, `demo` and `promote`. Exit codes: see errors.py and CommandResult."""

from __future__ import annotations

from siamese_med.runtime.supervisor import run_under_supervisor

if __name__ == "__main__":
    run_under_supervisor()  # before what follows is imported: it takes a while

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from siamese_med.cli import console_output, questions, run_request, workstation
from siamese_med.cli.command import make_command
from siamese_med.cli.console_output import CommandResult
from siamese_med.cli.options import (
    DEFAULT_DATA,
    DEFAULT_REPORTS,
    ConfigOption,
    DataOption,
    InputArgument,
    ModelOption,
    NoPrefectOption,
    ReportsOption,
    SentOption,
    UsedModelOption,
    general_options,
)

if TYPE_CHECKING:
    from siamese_med.pipeline.stage_results import RunRequest, StageResults

app = typer.Typer(
    name="siamese-med",
    help="Track change in a patient's medical images. Research use only.",
    epilog="Exit codes: 0 done, 1 our fault, 2 usage, 3 nothing usable, 4 done in part, 5 a check failed (--strict), "
    "6 the machine failed (a full disk, say).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.callback()(general_options)


def _answer_of_stage(command: str, order: RunRequest, config: Path | None, no_prefect: bool) -> CommandResult:
    (outcome,) = run_request.run_command(command, order, config, no_prefect)
    return CommandResult(outcome.facts, outcome.unfinished, outcome.failed_checks)


@app.command("run")
@make_command
def run_all_stages(
    source: InputArgument,
    data: DataOption = DEFAULT_DATA,
    reports: ReportsOption = DEFAULT_REPORTS,
    model: ModelOption = None,
    sent: SentOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done, and estimate time and disk; write nothing.")
    ] = False,
    config: ConfigOption = None,
    no_prefect: NoPrefectOption = False,
) -> CommandResult:
    """Run all stages, from INPUT to reports.

    Without --model, a model is trained where there are enough patients, and used if it is not worse than the current
    one. With --model, nothing is trained.
    """
    if dry_run:
        return questions.show_run_plan(source, data, reports, config, model)
    # The stages are in pipeline/stages.py, their order is in pipeline/stage_results.py. Prefect records the run as the
    # flow track_changes of flows/flows.py, unless --no-prefect is given.
    order = run_request.make_run_request(run_request.read_input_argument(source, sent), data, reports, config, model)
    return _answer_of_run(run_request.run_command("run", order, config, no_prefect))


def _answer_of_run(done: StageResults) -> CommandResult:
    from siamese_med.pipeline import stage_results

    facts = stage_results.summarise_run(done)
    unfinished = tuple(problem for outcome in done for problem in outcome.unfinished)
    failed = tuple(dict.fromkeys(problem for outcome in done for problem in outcome.failed_checks))
    return CommandResult(
        facts, unfinished, failed, closing=f"reports: {console_output.shorten_path(Path(facts['reports']))}"
    )


@app.command("ingest")
@make_command
def ingest_input(
    source: InputArgument,
    data: DataOption = DEFAULT_DATA,
    reports: ReportsOption = DEFAULT_REPORTS,
    sent: SentOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash files again even if size and time are unchanged.")
    ] = False,
    deface: Annotated[
        bool, typer.Option("--deface", help="Remove faces from head scans, now and in later runs of this study.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only show patients, visits and scans, and what names them; write nothing.")
    ] = False,
    config: ConfigOption = None,
    no_prefect: NoPrefectOption = False,
) -> CommandResult:
    """Convert files to scans; every file is accounted for."""
    if plan:
        return questions.show_ingest_plan(source, data, reports, config)
    order = replace(
        run_request.make_run_request(run_request.read_input_argument(source, sent), data, reports, config),
        verify=verify,
        deface=deface,
    )
    answer = _answer_of_stage("ingest", order, config, no_prefect)
    return replace(
        answer, closing=f"files by patient and series: {console_output.shorten_path(order.study.files_page)}"
    )


def _add_stage(verb: str, purpose: str) -> None:
    @app.command(verb, help=purpose)
    @make_command
    def stage(
        data: DataOption = DEFAULT_DATA,
        reports: ReportsOption = DEFAULT_REPORTS,
        config: ConfigOption = None,
        no_prefect: NoPrefectOption = False,
    ) -> CommandResult:
        return _answer_of_stage(verb, run_request.make_run_request(None, data, reports, config), config, no_prefect)


def _add_stage_with_model(verb: str, purpose: str) -> None:
    @app.command(verb, help=purpose)
    @make_command
    def stage(
        data: DataOption = DEFAULT_DATA,
        reports: ReportsOption = DEFAULT_REPORTS,
        model: ModelOption = None,
        config: ConfigOption = None,
        no_prefect: NoPrefectOption = False,
    ) -> CommandResult:
        return _answer_of_stage(
            verb, run_request.make_run_request(None, data, reports, config, model), config, no_prefect
        )


_add_stage_with_model("prepare", "Align the scans, to the template of --model where one is given.")
_add_stage("pair", "Split the patients and pair their scans.")
_add_stage("train", "Train a model on the pairs, calibrate and evaluate it.")
_add_stage_with_model("score", "Score the pairs, with --model or the current one.")


@app.command("report")
@make_command
def make_report(
    data: DataOption = DEFAULT_DATA,
    reports: ReportsOption = DEFAULT_REPORTS,
    model: UsedModelOption = None,
    viewer: Annotated[
        bool, typer.Option("--viewer", help="Also write a page for each pair to scroll through both scans.")
    ] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also write the patients' pages as PDF.")] = False,
    fhir: Annotated[bool, typer.Option("--fhir", help="Also write each patient's result as a FHIR R4 bundle.")] = False,
    dicom: Annotated[
        Path | None, typer.Option(help="Write DICOM SEG, SR and PDF objects for the archive here; they name patients.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--input", metavar="INPUT", help="For --dicom: the folder that was ingested.")
    ] = None,
    config: ConfigOption = None,
    no_prefect: NoPrefectOption = False,
) -> CommandResult:
    """Write the pages from the scores, for --model or the current one."""
    from siamese_med.errors import UsageError
    from siamese_med.study.tables import ReportExtras

    if (dicom is None) != (source is None):
        raise UsageError("--dicom and --input go together: objects are filed by the headers of the input")
    order = run_request.make_run_request(
        run_request.read_input_argument(source, None) if source else None, data, reports, config, model
    )
    order = replace(order, extras=ReportExtras(viewer, pdf, dicom and dicom.absolute(), fhir))
    answer = _answer_of_stage("report", order, config, no_prefect)
    if dicom is not None:
        sys.stderr.write("the objects below --dicom name patients: send them to their archive and nowhere else\n")
    return answer


@app.command("answers")
@make_command
def store_answers(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file that a patient's page saved.")],
    data: DataOption = DEFAULT_DATA,
    reports: ReportsOption = DEFAULT_REPORTS,
    config: ConfigOption = None,
) -> CommandResult:
    """Keep a reader's answers to a patient's page; the page shows them after the next `report`."""
    from siamese_med.pipeline import answer_storage

    facts = answer_storage.store_reader_answers(file, run_request.make_study(data, reports, config))
    again = "to show them on the page: siamese-med report" if facts["new"] else "they were kept before"
    return CommandResult(facts, closing=again)


@app.command("demo")
@make_command
def run_demo(
    folder: Annotated[Path, typer.Option(help="Folder for everything the demo writes.")] = Path("demo"),
    patients: Annotated[int, typer.Option(min=4, help="Simulated patients; fewer than 8 train no model.")] = 16,
    visits: Annotated[int, typer.Option(min=2, help="Visits of each.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
    config: ConfigOption = None,
    no_prefect: NoPrefectOption = False,
) -> CommandResult:
    """Simulate a cohort and run all stages on it (with FOLDER/demo.toml if no config is given)."""
    from siamese_med.pipeline import stages
    from siamese_med.runtime.files import write_text_file
    from siamese_med.study.config import DEMO_CONFIG, DEMO_OWN_MODEL_CONFIG, MIN_DEMO_TRAINING_PATIENTS

    if config is None:
        config = folder / "demo.toml"
        write_text_file(config, DEMO_CONFIG + DEMO_OWN_MODEL_CONFIG * (patients >= MIN_DEMO_TRAINING_PATIENTS))
    order = run_request.make_run_request(None, folder / "data", folder / "reports", config)
    order = replace(order, source=stages.simulate(folder, patients, visits, seed))
    return _answer_of_run(run_request.run_command("run", order, config, no_prefect))


@app.command("promote")
@make_command
def promote_model(
    model: Annotated[str, typer.Argument(help="A model of this study, its folder or its id; or `starter`.")],
    renew: Annotated[bool, typer.Option("--renew", help="Choose new fixed validation patients.")] = False,
    data: DataOption = DEFAULT_DATA,
    reports: ReportsOption = DEFAULT_REPORTS,
    config: ConfigOption = None,
) -> CommandResult:
    """Make MODEL the current one, without comparing it with the one in use; score and report then use it."""
    from siamese_med.pipeline import promotion

    record = promotion.promote(run_request.make_study(data, reports, config), model, renew)
    return CommandResult({"model": record.model, "since": record.since, "why": record.why})


questions.add_question_commands(app)
workstation.add_workstation_commands(app)


def main() -> NoReturn:
    """Run the command line and end the process with its exit code.

    The commands run in a child process under a supervisor, see `runtime.supervisor`. A wrong call prints one line, or
    one
    JSON object with --json, and ends with exit code 2.
    """
    run_under_supervisor()
    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        message = " ".join(error.format_message().split()).rstrip(".")
        if "--json" in sys.argv:
            console_output.write_json_answer(sys.stdout, {"error": message, "exit_code": 2})
        if message:  # none where the help was all there is to say
            sys.stderr.write(f"siamese-med: {message}; see `siamese-med --help`\n")
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
