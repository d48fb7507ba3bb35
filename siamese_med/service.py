"""The commands of a workstation that runs by itself: serve and trigger, and what status says of runs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from siamese_med import interruption
from siamese_med.console import Answer
from siamese_med.manner import answering

SAID = """\
runs are shown at {page}; stop with Ctrl-C
the page asks once for the password in {password}
for Prefect's own commands: export PREFECT_API_URL={api} PREFECT_API_AUTH_STRING="$(cat {quoted})"
"""


def add_to(app: typer.Typer) -> None:
    """Give the command line these commands."""
    app.command()(serve)
    app.command()(trigger)


@answering
def serve(
    studies: Annotated[list[Path], typer.Argument(metavar="STUDY.toml...", help="Files that name a study's folders.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the server, on this machine alone.")] = 4200,
    systemd: Annotated[
        bool, typer.Option("--systemd", help="Print a user unit that starts this with the machine, and end.")
    ] = False,
) -> Answer:
    """Keep a Prefect server up and run the studies' nightly and weekly schedules, until interrupted."""
    import flows  # noqa: F401 - settles how Prefect starts, before it is imported
    from flows.service import serving, unit

    serving.check(studies)
    if systemd:
        text = unit.unit(studies, port)
        return Answer({"unit": text}, text=text)
    serving.serve(studies, port, _say)
    return Answer({"stopped": True}, text="stopped")


def _say(api: str, password: Path) -> None:
    page, quoted = api.removesuffix("/api"), shlex.quote(str(password))
    sys.stderr.write(SAID.format(page=page, password=password, api=api, quoted=quoted))
    sys.stderr.flush()


@answering
def trigger(
    run: Annotated[str, typer.Argument(help="nightly, retrain or track-changes.")],
    study: Annotated[str | None, typer.Option(help="Which one, where several are served.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for its end; exit code 4 where it did not do all, 1 where it failed.")
    ] = False,
) -> Answer:
    """Start a scheduled run now, by whoever serves the study."""
    import flows  # noqa: F401 - settles how Prefect starts, before it is imported
    from flows.service import overview

    interruption.say("interrupted; a run that was started goes on, `siamese-med status` shows it")
    facts = overview.trigger(run, study, wait)
    return Answer(facts, unfinished=overview.shortfall(facts))


def runs() -> dict[str, Any]:
    """What Prefect knows of our runs, where a server answers."""
    import flows  # noqa: F401 - settles how Prefect starts, before it is imported
    from flows.service import overview

    return overview.overview()
