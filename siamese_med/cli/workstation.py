"""Commands of a workstation with scheduled runs: `serve` and `trigger`, and what `status` shows of runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from siamese_med.cli.command import make_command
from siamese_med.cli.console_output import CommandResult
from siamese_med.runtime import interruption
from siamese_med.runtime.extras import require_extra

SERVING_MESSAGE = """\
runs are shown at {page}; stop with Ctrl-C
the page asks once for the password in {password}
for Prefect's own commands: export PREFECT_API_URL={api} PREFECT_API_AUTH_STRING="$(cat {quoted})"
"""
"""Text that `serve` prints once its server is up."""


def add_workstation_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command("serve")(serve_until_interrupted)
    app.command("trigger")(trigger_scheduled_run)


@make_command
def serve_until_interrupted(
    studies: Annotated[
        list[Path], typer.Argument(metavar="STUDY.toml...", help="Study files, see docs/nightly-runs.md.")
    ],
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the server, which serves this machine only.")
    ] = 4200,
    systemd: Annotated[
        bool, typer.Option("--systemd", help="Print a systemd user unit that starts this with the machine, and exit.")
    ] = False,
) -> CommandResult:
    """Keep a Prefect server up and run the studies' nightly and weekly schedules, until interrupted."""
    require_extra("prefect")
    import siamese_med.flows  # noqa: F401 - settles how Prefect starts, before it is imported
    from siamese_med.flows.server import deployments, systemd_unit

    deployments.check_study_files(studies)
    if systemd:
        text = systemd_unit.render_systemd_unit(studies, port)
        return CommandResult({"unit": text}, text=text)
    deployments.serve_studies(studies, port, _say)
    return CommandResult({"stopped": True}, text="stopped")


def _say(api: str, password: Path) -> None:
    page, quoted = api.removesuffix("/api"), shlex.quote(str(password))
    sys.stderr.write(SERVING_MESSAGE.format(page=page, password=password, api=api, quoted=quoted))
    sys.stderr.flush()


@make_command
def trigger_scheduled_run(
    run: Annotated[str, typer.Argument(help="nightly, retrain or track-changes.")],
    study: Annotated[str | None, typer.Option(help="Name of the study, if several are served.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for its end; exit code 4 if it is incomplete, 1 if it failed.")
    ] = False,
) -> CommandResult:
    """Start a scheduled run now, on the machine that serves the study."""
    import siamese_med.flows  # noqa: F401 - settles how Prefect starts, before it is imported
    from siamese_med.flows.server import run_overview

    interruption.set_interruption_message("interrupted; a run that was started goes on, `siamese-med status` shows it")
    facts = run_overview.request_run(run, study, wait)
    return CommandResult(dict(facts), unfinished=run_overview.describe_incomplete_run(facts))


def list_prefect_runs() -> Mapping[str, object]:
    """List what Prefect knows of the runs of this package.

    Returns
    -------
    Mapping
        See `run_overview.RunsOverview`; without a server that answers, or without Prefect, its lists are empty.
    """
    import siamese_med.flows  # noqa: F401 - settles how Prefect starts, before it is imported
    from siamese_med.flows.server import run_overview

    return run_overview.summarise_runs()
