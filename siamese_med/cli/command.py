"""Decorator that gives a command the common options and turns its result or error into output and an exit code."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from siamese_med.cli import console_output
from siamese_med.cli.console_output import CommandResult
from siamese_med.cli.hints import add_given_options
from siamese_med.runtime import interruption
from siamese_med.runtime.terminal_text import make_printable

COMMON_OPTIONS = {
    "as_json": Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")],
    "strict": Annotated[bool, typer.Option("--strict", help="Exit with 5 when a check failed.")],
    "quiet": Annotated[bool, typer.Option("--quiet", help="No progress and no logs.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
    "log_file": Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="Also append stages, warnings and the result here.")
    ],
}
"""Options that every command has, by the name of the parameter."""

_DEFAULTS = {"log_file": None}
"""Defaults of the common options that are no switches."""


def make_command(command: Callable[..., CommandResult]) -> Callable[..., NoReturn]:
    """Turn a function that returns a CommandResult into a command with the options of COMMON_OPTIONS besides its own.

    The command prints the result or the error and ends the process with the exit code. Typer reads its options from the
    signature, and its help text from the docstring of `command`.
    """

    def run(as_json: bool, strict: bool, quiet: bool, debug: bool, log_file: Path | None, **arguments: Any) -> NoReturn:
        console_output.configure_logging(quiet, debug)
        with console_output.reserve_streams(as_json, quiet) as (answers, errors):
            try:
                if log_file is not None:
                    console_output.begin_log_file(log_file, " ".join(sys.argv[1:2]))
                answer = command(**arguments)
            except (Exception, KeyboardInterrupt) as error:
                interruption.wait_if_interrupted()
                interruption.note_answer_started()
                if debug:
                    errors.write(traceback.format_exc())
                message, code, facts = console_output.explain_error(error)
                message = add_given_options(message, arguments)
                console_output.ANSWER_LOG.error("%s; exit code %d", make_printable(message), code)
                if as_json:
                    console_output.write_json_answer(answers, {**facts, "error": message, "exit_code": code})
                errors.write(f"siamese-med: {make_printable(message)}\n")
            else:
                interruption.note_answer_started()
                answer, code = _complete(answer, arguments), answer.exit_code(strict)
                console_output.log_answer(answer, code)
                if as_json:
                    console_output.write_json_answer(answers, answer.facts)
                else:
                    console_output.write_answer(answers, answer)
        sys.exit(code)

    own = inspect.signature(command, eval_str=True)
    manner = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(name, False), annotation=option)
        for name, option in COMMON_OPTIONS.items()
    ]
    signature = own.replace(parameters=[*own.parameters.values(), *manner])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def _complete(answer: CommandResult, arguments: Mapping[str, object]) -> CommandResult:
    """The answer, with the options of the study in every command that it names."""
    facts = {
        name: add_given_options(value, arguments) if isinstance(value, str) else value
        for name, value in answer.facts.items()
    }
    unfinished, failed = (
        tuple(add_given_options(one, arguments) for one in problems)
        for problems in (answer.unfinished, answer.failed_checks)
    )
    closing = None if answer.closing is None else add_given_options(answer.closing, arguments)
    return replace(answer, facts=facts, unfinished=unfinished, failed_checks=failed, closing=closing)
