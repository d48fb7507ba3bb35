"""Hints that name a command, with the options of the command that gives them, so that they work when copied."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

CARRIED_OPTIONS = ("data", "reports", "config")
"""Options that say which study a command works on, in the order of a hint."""
COMMANDS_OF_A_STUDY = (
    "ingest",
    "prepare",
    "pair",
    "train",
    "score",
    "report",
    "status",
    "promote",
    "answers",
    "reveal",
)
"""Commands with all of CARRIED_OPTIONS."""
COMMANDS_WITH_MODEL = ("prepare", "score", "report")
"""Commands of a study with the option --model."""

_HINT = re.compile(rf"\bsiamese-med ({'|'.join(COMMANDS_OF_A_STUDY)})\b(?! --)(?: INPUT\b)?")


def add_given_options(text: str, given: Mapping[str, object]) -> str:
    """Return a message with the options of the study added to each command that it names.

    Parameters
    ----------
    text
        Such as "run `siamese-med score` first".
    given
        Options of the command that gives the hint, by the name of the parameter; None or a default is left out.

    Examples
    --------
    >>> add_given_options("run `siamese-med score` first", {"data": "my study", "reports": "reports", "model": None})
    "run `siamese-med score --data 'my study'` first"
    """

    def complete(found: re.Match[str]) -> str:
        names = (*CARRIED_OPTIONS, "model") if found[1] in COMMANDS_WITH_MODEL else CARRIED_OPTIONS
        values = [(name, str(given[name])) for name in names if given.get(name) is not None]
        options = [f" --{name} {shlex.quote(value)}" for name, value in values if value != name]  # --data data: default
        return found[0] + "".join(options)

    return _HINT.sub(complete, text)
