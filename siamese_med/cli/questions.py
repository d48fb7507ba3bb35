"""Commands that answer a question and change nothing in the study."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from siamese_med.cli import console_output, run_request, workstation
from siamese_med.cli.command import make_command
from siamese_med.cli.console_output import CommandResult
from siamese_med.cli.options import (
    DEFAULT_DATA,
    DEFAULT_REPORTS,
    ConfigOption,
    DataOption,
    ReportsOption,
    ScanArgument,
    UsedModelOption,
)
from siamese_med.study.vocabulary import GuidelineName


def add_question_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command("export")(export_pairs)
    app.command("compare")(compare_two_scans)
    app.command("identify")(identify_patient)
    app.command("config")(print_config)
    app.command("status")(show_status)
    app.command("reveal")(print_revealed_label)
    app.command("checklist")(print_checklist)


@make_command
def export_pairs(
    reports: ReportsOption = DEFAULT_REPORTS,
    output: Annotated[Path | None, typer.Option(help="CSV file to write; without it the table is printed.")] = None,
) -> CommandResult:
    """Collect all pairs of all patients from the reports in one CSV table."""
    from siamese_med.reporting.write import pair_export
    from siamese_med.runtime.files import write_text_file

    table, facts = pair_export.collect_pairs_csv(reports)
    if output is None:
        return CommandResult(facts, text=table)
    write_text_file(output, table)
    return CommandResult({**facts, "file": console_output.shorten_path(output)})


def show_ingest_plan(source: str, data: Path, reports: Path, config: Path | None) -> CommandResult:
    """Show what `ingest` would take for whom; nothing is written."""
    from siamese_med.errors import UsageError
    from siamese_med.ingestion import ingest_plan
    from siamese_med.study import input_source

    found = run_request.read_input_argument(source, None)
    if not isinstance(found, Path):
        raise UsageError("--plan reads a folder or a manifest: an archive names the patient of every file itself")
    study = run_request.make_study(data, reports, config)
    input_source.refuse_own_folder(found, study.own_folders)
    plan = ingest_plan.plan_ingest(found, study.config.ingest, study.own_folders)
    return CommandResult({**plan}, text=ingest_plan.format_plan(plan))


def show_run_plan(source: str, data: Path, reports: Path, config: Path | None, model: Path | None) -> CommandResult:
    """Show what `run` would do and about what it would cost; nothing is written."""
    from siamese_med.errors import UsageError

    order = run_request.make_run_request(run_request.read_input_argument(source, None), data, reports, config, model)
    if not isinstance(order.source, Path):
        raise UsageError("--dry-run reads a folder or a manifest: what an archive holds shows when it is fetched")
    from siamese_med.pipeline import dry_run  # slow: after what can be wrong with the options

    plan = dry_run.plan_run(order.source, order.study, model)
    return CommandResult({**plan}, failed_checks=tuple(plan["warnings"]), text=dry_run.format_dry_run(plan))


@make_command
def compare_two_scans(
    a: ScanArgument,
    b: ScanArgument,
    model: UsedModelOption = None,
    data: DataOption = DEFAULT_DATA,
    reports: ReportsOption = DEFAULT_REPORTS,
    config: ConfigOption = None,
    map_file: Annotated[
        Path | None, typer.Option("--map", help="Also write the change map (.nii or .nii.gz), in the space of scan A.")
    ] = None,
) -> CommandResult:
    """Compare scan A with scan B, without a catalogue: same person? changed?

    Without --model, by the current model of the study in --data, or the starter model.
    """
    from siamese_med.errors import UsageError

    if map_file is not None and not map_file.name.endswith((".nii", ".nii.gz")):
        raise UsageError(f"--map {map_file} must end in .nii or .nii.gz: a change map is a NIfTI file")
    study = run_request.make_study_for_scans([a, b], model, data, reports, config)
    chosen = run_request.choose_model(model, study)
    from siamese_med.pipeline import single_scans  # slow: after what can be wrong with the options

    return CommandResult(single_scans.compare(a, b, chosen, study, map_file))


@make_command
def identify_patient(
    scan: ScanArgument,
    model: UsedModelOption = None,
    data: DataOption = DEFAULT_DATA,
    reports: ReportsOption = DEFAULT_REPORTS,
    config: ConfigOption = None,
) -> CommandResult:
    """Rank the enrolled patients for one scan; nothing is retrained."""
    study = run_request.make_study_for_scans([scan], model, data, reports, config)
    chosen = run_request.choose_model(model, study)
    from siamese_med.pipeline import single_scans

    return CommandResult(single_scans.identify(scan, chosen, study))


@make_command
def print_config(config: ConfigOption = None) -> CommandResult:
    """Print the effective configuration as TOML."""
    from siamese_med.study.config_text import describe_config

    values, text = describe_config(config)
    return CommandResult({**values}, text=text)


@make_command
def show_status(
    data: DataOption = DEFAULT_DATA, reports: ReportsOption = DEFAULT_REPORTS, config: ConfigOption = None
) -> CommandResult:
    """Show what the study holds, past and scheduled runs, and the next step."""
    from siamese_med.errors import MissingFileError
    from siamese_med.pipeline import study_status

    study = run_request.make_study(data, reports, config)
    if data != DEFAULT_DATA and not data.is_dir():  # a mistyped name is no empty study; without one, runs are shown
        raise MissingFileError(
            "no study at --data: name the data folder of a study, or begin one with `siamese-med ingest INPUT`"
        )
    return CommandResult(
        {
            **study_status.summarise_study(study),
            **workstation.list_prefect_runs(),
        }
    )


@make_command
def print_revealed_label(
    label: Annotated[str, typer.Argument(help="A subject, a scan id, a series, or a reason word.")],
    source: Annotated[
        Path | None,
        typer.Option("--input", metavar="INPUT", help="Also list the files below this folder; none is read."),
    ] = None,
    data: DataOption = DEFAULT_DATA,
    reports: ReportsOption = DEFAULT_REPORTS,
    config: ConfigOption = None,
) -> CommandResult:
    """Map a pseudonym back to patient and files, with the secret of the study; never recorded."""
    from siamese_med.ingestion.privacy import reidentification
    from siamese_med.pipeline import stages

    facts = stages.reveal_pseudonym(label, run_request.make_study(data, reports, config), source)
    sys.stderr.write(reidentification.PATIENT_NAMES_WARNING)
    return CommandResult({**facts}, text=reidentification.format_revealed_label(facts))


@make_command
def print_checklist(
    guideline: Annotated[GuidelineName, typer.Argument(metavar="GUIDELINE", help="`claim` or `tripod-ai`.")],
    output: Annotated[Path | None, typer.Option(help="Markdown file to write; without it the text is printed.")] = None,
    model: UsedModelOption = None,
    data: DataOption = DEFAULT_DATA,
    reports: ReportsOption = DEFAULT_REPORTS,
    config: ConfigOption = None,
) -> CommandResult:
    """Fill in a checklist for a publication, CLAIM or TRIPOD+AI, from what the study and its model record."""
    from siamese_med.pipeline import checklist_facts
    from siamese_med.runtime.files import write_text_file

    study = run_request.make_run_request(None, data, reports, config, model).study
    facts, text = checklist_facts.fill_in_checklist(guideline, run_request.choose_model(model, study), study)
    if output is None:
        return CommandResult(facts, text=text)
    write_text_file(output, text)
    file = console_output.shorten_path(output)
    said = "{guideline}: {filled} items filled in, {in_part} in part, {to_write} for you to write".format_map(facts)
    return CommandResult({**facts, "file": file}, text=f"{said}; written to {file}")
