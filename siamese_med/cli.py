"""The command line: six verbs, the whole line, a few questions. Exit codes: 1 to 3 of errors.py, 4 and 5 of Answer."""

from __future__ import annotations

from siamese_med.supervisor import supervise

if __name__ == "__main__":
    supervise()  # before what follows is imported: it takes a while

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from siamese_med import console, orders, service
from siamese_med.arguments import (
    DATA,
    REPORTS,
    ConfigFile,
    Data,
    GivenModel,
    Input,
    Model,
    NoPrefect,
    Reports,
    Scan,
    Sent,
    general_options,
)
from siamese_med.console import Answer
from siamese_med.manner import answering

if TYPE_CHECKING:
    from siamese_med.outcomes import Order, Outcomes

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


def _answer_of_stage(command: str, order: Order, config: Path | None, no_prefect: bool) -> Answer:
    (outcome,) = orders.perform(command, order, config, no_prefect)
    return Answer(outcome.facts, outcome.unfinished, outcome.failed_checks)


@app.command()
@answering
def run(
    source: Input,
    data: Data = DATA,
    reports: Reports = REPORTS,
    model: Model = None,
    sent: Sent = None,
    config: ConfigFile = None,
    no_prefect: NoPrefect = False,
) -> Answer:
    """All six stages, from INPUT to reports; with --model, train is left out."""
    order = orders.order(orders.source(source, sent), data, reports, config, model)
    return _answer_of_run(orders.perform("run", order, config, no_prefect))


def _answer_of_run(done: Outcomes) -> Answer:
    from siamese_med import outcomes

    return Answer(
        outcomes.summary(done),
        tuple(problem for outcome in done for problem in outcome.unfinished),
        tuple(dict.fromkeys(problem for outcome in done for problem in outcome.failed_checks)),
        closing=f"reports: {console.relative(Path(done[-1].facts['index']))}",
    )


@app.command()
@answering
def ingest(
    source: Input,
    data: Data = DATA,
    reports: Reports = REPORTS,
    sent: Sent = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash files again whose size and time are as before.")
    ] = False,
    config: ConfigFile = None,
    no_prefect: NoPrefect = False,
) -> Answer:
    """Files to scans; every file is accounted for."""
    order = replace(orders.order(orders.source(source, sent), data, reports, config), verify=verify)
    answer = _answer_of_stage("ingest", order, config, no_prefect)
    return replace(answer, closing=f"files by patient and series: {console.relative(order.study.files_page)}")


def _add_stage(verb: str, purpose: str) -> None:
    @app.command(verb, help=purpose)
    @answering
    def stage(
        data: Data = DATA, reports: Reports = REPORTS, config: ConfigFile = None, no_prefect: NoPrefect = False
    ) -> Answer:
        return _answer_of_stage(verb, orders.order(None, data, reports, config), config, no_prefect)


def _add_stage_with_model(verb: str, purpose: str) -> None:
    @app.command(verb, help=purpose)
    @answering
    def stage(
        data: Data = DATA,
        reports: Reports = REPORTS,
        model: Model = None,
        config: ConfigFile = None,
        no_prefect: NoPrefect = False,
    ) -> Answer:
        return _answer_of_stage(verb, orders.order(None, data, reports, config, model), config, no_prefect)


_add_stage_with_model("prepare", "Scans to aligned volumes, on the template of --model where one is given.")
_add_stage("pair", "Scans to pairs; patients are split first.")
_add_stage("train", "Pairs to a model, calibrated and measured.")
_add_stage_with_model("score", "Pairs to scores, with --model or the current one.")


@app.command()
@answering
def report(
    data: Data = DATA,
    reports: Reports = REPORTS,
    model: Model = None,
    viewer: Annotated[bool, typer.Option("--viewer", help="Also a page a pair to scroll through both dates.")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also the patients' pages as PDF.")] = False,
    dicom: Annotated[
        Path | None, typer.Option(help="Write SEG, SR and PDF for the archive here; they name patients.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--input", metavar="INPUT", help="For --dicom: the folder that was ingested.")
    ] = None,
    config: ConfigFile = None,
    no_prefect: NoPrefect = False,
) -> Answer:
    """Scores to pages, for --model or the current one."""
    from siamese_med.errors import UsageError
    from siamese_med.records import Extras

    if (dicom is None) != (source is None):
        raise UsageError("--dicom and --input go together: objects are filed by the headers of the input")
    order = orders.order(orders.source(source, None) if source else None, data, reports, config, model)
    order = replace(order, extras=Extras(viewer, pdf, dicom and dicom.absolute()))
    answer = _answer_of_stage("report", order, config, no_prefect)
    if dicom is not None:
        sys.stderr.write("the objects below --dicom name patients: send them to their archive and nowhere else\n")
    return answer


@app.command()
@answering
def export(
    reports: Reports = REPORTS,
    output: Annotated[Path | None, typer.Option(help="The CSV file to write; else it is printed.")] = None,
) -> Answer:
    """All pairs of all patients as one CSV table, out of the reports."""
    from siamese_med.files import write_text
    from siamese_med.reporting import export

    table, facts = export.table(reports)
    if output is None:
        return Answer(facts, text=table)
    write_text(output, table)
    return Answer({**facts, "file": console.relative(output)})


@app.command()
@answering
def compare(
    a: Scan, b: Scan, model: GivenModel, data: Data = DATA, reports: Reports = REPORTS, config: ConfigFile = None
) -> Answer:
    """Compare scan A with scan B, without a catalogue: same person? changed?"""
    from siamese_med import stages

    return Answer(stages.compare(a, b, model, orders.study_with([a, b], model, data, reports, config)))


@app.command()
@answering
def identify(
    scan: Scan, model: GivenModel, data: Data = DATA, reports: Reports = REPORTS, config: ConfigFile = None
) -> Answer:
    """Rank the enrolled patients for one scan; nothing is retrained."""
    from siamese_med import stages

    return Answer(stages.identify(scan, model, orders.study_with([scan], model, data, reports, config)))


@app.command()
@answering
def demo(
    folder: Annotated[Path, typer.Option(help="Where everything of the demo goes.")] = Path("demo"),
    patients: Annotated[int, typer.Option(min=4, help="Simulated patients.")] = 16,
    visits: Annotated[int, typer.Option(min=2, help="Visits of each.")] = 3,
    seed: Annotated[int, typer.Option(help="Another seed, other patients.")] = 0,
    config: ConfigFile = None,
    no_prefect: NoPrefect = False,
) -> Answer:
    """Simulate a cohort, run the whole line on it (by FOLDER/demo.toml if no config is given), and name the reports."""
    from siamese_med import stages
    from siamese_med.config import DEMO
    from siamese_med.files import write_text

    if config is None:
        config = folder / "demo.toml"
        write_text(config, DEMO)
    order = orders.order(None, folder / "data", folder / "reports", config)
    order = replace(order, source=stages.simulate(folder, patients, visits, seed))
    return _answer_of_run(orders.perform("run", order, config, no_prefect))


@app.command()
@answering
def config(config: ConfigFile = None) -> Answer:
    """Print the effective configuration as TOML."""
    from siamese_med.config import as_toml, load

    effective = load(config)
    return Answer(effective.model_dump(mode="json"), text=as_toml(effective))


@app.command()
@answering
def promote(
    model: Annotated[str, typer.Argument(help="A model of this study: its folder, or its id.")],
    renew: Annotated[bool, typer.Option("--renew", help="Choose the fixed validation patients anew.")] = False,
    data: Data = DATA,
    reports: Reports = REPORTS,
    config: ConfigFile = None,
) -> Answer:
    """Let MODEL speak from now on, without holding it against the current one; score and report follow it."""
    from siamese_med import promotion

    record = promotion.appoint(orders.study(data, reports, config), Path(model).name, "promoted by hand", renew)
    return Answer({"model": record.model, "since": record.since, "why": record.why})


@app.command()
@answering
def status(data: Data = DATA, reports: Reports = REPORTS, config: ConfigFile = None) -> Answer:
    """What the study holds, which runs there were and will be, and which step comes next."""
    from siamese_med import standing

    return Answer(standing.status(orders.study(data, reports, config)) | service.runs())


@app.command()
@answering
def reveal(
    label: Annotated[str, typer.Argument(help="A subject, a scan id, a series, or a reason word.")],
    source: Annotated[
        Path | None, typer.Option("--input", metavar="INPUT", help="Also list the files below; none is read.")
    ] = None,
    data: Data = DATA,
    reports: Reports = REPORTS,
    config: ConfigFile = None,
) -> Answer:
    """Map a pseudonym back to patient and files, with the secret; never recorded."""
    from siamese_med import stages
    from siamese_med.ingestion import revealing

    facts = stages.reveal(label, orders.study(data, reports, config), source)
    sys.stderr.write(revealing.WARNING)
    return Answer(facts, text=revealing.as_text(facts))


service.add_to(app)


def main() -> NoReturn:
    """Run the command line below its supervisor; a wrong call is one line and exit code 2."""
    supervise()
    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        message = " ".join(error.format_message().split()).rstrip(".")
        if "--json" in sys.argv:
            console.write_json(sys.stdout, {"error": message, "exit_code": 2})
        if message:  # none where the help was all there is to say
            sys.stderr.write(f"siamese-med: {message}; see `siamese-med --help`\n")
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
