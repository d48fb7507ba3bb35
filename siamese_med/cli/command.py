"""Decorator that gives a command the common options and turns its result or error into output and an exit code."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from siamese_med.cli import console_output
from siamese_med.cli.console_output import CommandResult
from siamese_med.runtime import interruption
from siamese_med.runtime.terminal_text import make_printable

COMMON_OPTIONS = {
    "as_json": Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")],
    "strict": Annotated[bool, typer.Option("--strict", help="Exit with 5 when a check failed.")],
    "quiet": Annotated[bool, typer.Option("--quiet", help="No progress and no logs.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
}
"""Options that every command has, by the name of the parameter."""


def make_command(command: Callable[..., CommandResult]) -> Callable[..., NoReturn]:
    """Turn a function that returns a CommandResult into a command with the options of COMMON_OPTIONS besides its own.

    The command prints the result or the error and ends the process with the exit code. Typer reads its options from the
    signature, and its help text from the docstring of `command`.
    """

    def run(as_json: bool, strict: bool, quiet: bool, debug: bool, **arguments: Any) -> NoReturn:
        console_output.configure_logging(quiet, debug)
        with console_output.reserve_streams(as_json, quiet) as (answers, errors):
            try:
                answer = command(**arguments)
            except (Exception, KeyboardInterrupt) as error:
                interruption.wait_if_interrupted()
                interruption.note_answer_started()
                if debug:
                    errors.write(traceback.format_exc())
                message, code, facts = console_output.explain_error(error)
                if as_json:
                    console_output.write_json_answer(answers, {**facts, "error": message, "exit_code": code})
                errors.write(f"siamese-med: {make_printable(message)}\n")
            else:
                interruption.note_answer_started()
                code = answer.exit_code(strict)
                write = (
                    console_output.write_answer
                    if not as_json
                    else lambda stream, it: console_output.write_json_answer(stream, it.facts)
                )
                write(answers, answer)
        sys.exit(code)

    own = inspect.signature(command, eval_str=True)
    manner = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)
        for name, option in COMMON_OPTIONS.items()
    ]
    signature = own.replace(parameters=[*own.parameters.values(), *manner])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run
