"""The reference of the command line, made from the commands themselves.

`python -m siamese_med.cli.reference_page` prints docs/cli.md.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from siamese_med.cli.command import COMMON_OPTIONS

PROGRAM = "siamese-med"
OPTION = re.compile(r"(?<![`\w-])--[a-z][a-z-]*")


def _lines() -> Iterator[str]:
    from siamese_med.cli.main import app

    group = get_command(app)
    assert isinstance(group, TyperGroup)
    commands = {name: one for name, one in group.commands.items() if isinstance(one, TyperCommand)}
    yield "# Command line"
    yield ""
    yield "This page is made from the commands by `python -m siamese_med.cli.reference_page`. In a terminal,"
    yield f"`--help` after a command shows the same. `{PROGRAM} --version` prints the version."
    yield ""
    yield format_help(group.epilog or "")
    links = [(f"[`{name}`](#{PROGRAM}-{name})", one.help or "") for name, one in commands.items()]
    yield from _table("Command", [(name, text.partition("\n")[0]) for name, text in links])
    yield ""
    yield "## Options of every command"
    rows = _rows(f"{PROGRAM} run", commands["run"])
    yield from _table("Option", [row for kind, name, *row in rows if name in COMMON_OPTIONS])
    for name, command in commands.items():
        yield ""
        yield f"## {PROGRAM} {name}"
        yield ""
        yield format_help(command.help or "")
        rows = [row for row in _rows(f"{PROGRAM} {name}", command) if row[1] not in COMMON_OPTIONS]
        for kind in ("argument", "option"):
            yield from _table(kind.capitalize(), [row[2:] for row in rows if row[0] == kind])


def _rows(name: str, command: TyperCommand) -> list[tuple[str, str, str, str]]:
    """Kind, name, what is typed and what it means, for each argument and option."""
    rows = []
    with command.make_context(name, [], resilient_parsing=True) as context:
        for one in command.params:
            typed, meaning = one.get_help_record(context) or ("", "")
            rows.append((one.param_type_name, one.name or "", f"`{typed}`", meaning))
    return rows


def _table(heading: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if rows:
        yield ""
        yield f"| {heading} | Meaning |"
        yield "|---|---|"
        yield from (f"| {typed} | {format_help(meaning)} |" for typed, meaning in rows)


def format_help(text: str) -> str:
    """Return a help text as a cell of a Markdown table or a paragraph: options as code, the default in brackets.

    Examples
    --------
    >>> format_help("With --model, a folder.  [default: data]")
    'With `--model`, a folder. (default: data)'
    """
    text = re.sub(r"  \[([^\[\]]*)\]$", r" (\1)", text.strip())
    text = OPTION.sub(lambda found: f"`{found[0]}`", text)
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n")).replace("|", "\\|")


def document_commands() -> str:
    """Return docs/cli.md."""
    return "".join(f"{line}\n" for line in _lines())


if __name__ == "__main__":
    sys.stdout.write(document_commands())
