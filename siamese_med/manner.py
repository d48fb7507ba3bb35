"""The manner of every command: its common options, and how what it returns or raises becomes output and exit code."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from siamese_med import console, interruption
from siamese_med.console import Answer

MANNER = {
    "as_json": Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")],
    "strict": Annotated[bool, typer.Option("--strict", help="Exit with 5 when a check failed.")],
    "quiet": Annotated[bool, typer.Option("--quiet", help="No progress and no logs.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
}
"""Options that every command has."""


def answering(command: Callable[..., Answer]) -> Callable[..., NoReturn]:
    """Give a command the options of MANNER; what it returns or raises becomes output and exit code."""

    def run(as_json: bool, strict: bool, quiet: bool, debug: bool, **arguments: Any) -> NoReturn:
        console.settle(quiet, debug)
        with console.reserved_streams(as_json, quiet) as (answers, errors):
            try:
                answer = command(**arguments)
            except (Exception, KeyboardInterrupt) as error:
                interruption.wait_if_interrupted()
                interruption.answering()
                if debug:
                    errors.write(traceback.format_exc())
                message, code, facts = console.explain(error)
                if as_json:
                    console.write_json(answers, {**facts, "error": message, "exit_code": code})
                errors.write(f"siamese-med: {message}\n")
            else:
                interruption.answering()
                code = answer.exit_code(strict)
                write = console.write_answer if not as_json else lambda stream, it: console.write_json(stream, it.facts)
                write(answers, answer)
        sys.exit(code)

    own = inspect.signature(command, eval_str=True)
    manner = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)
        for name, option in MANNER.items()
    ]
    signature = own.replace(parameters=[*own.parameters.values(), *manner])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run
