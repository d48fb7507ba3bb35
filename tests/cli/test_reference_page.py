"""docs/cli.md is made from the commands, and says of each what its help says."""

from __future__ import annotations

from rich.text import Text
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from siamese_med.cli import reference_page
from siamese_med.cli.main import app
from tests import documentation
from tests.commands import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date() -> None:
    assert reference_page.document_commands() == PAGE, "python -m siamese_med.cli.reference_page > docs/cli.md"


def test_every_command_and_option_is_on_the_page() -> None:
    assert {name for name in documentation.command_names() if f"\n## siamese-med {name}\n" not in PAGE} == set()
    typed = {name for name in documentation.options() if name.startswith("--")} - {"--help"}
    assert {name for name in typed if f"`{name}" not in PAGE and f" {name}`" not in PAGE} == set()


def test_no_help_text_is_read_as_markup() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    commands = [one for one in group.commands.values() if isinstance(one, TyperCommand)]
    parameters = [one for command in commands for one in command.params]
    texts = [command.help or "" for command in commands] + [getattr(one, "help", None) or "" for one in parameters]
    assert [text for text in texts if Text.from_markup(text).plain != text] == []
    assert Text.from_markup("dicomweb[s]://HOST").plain == "dicomweb://HOST"  # what a terminal showed
