"""Reads the documentation: its commands, code blocks, links and mentions, and says what is wrong with each.

Every function that checks something returns one line on each problem, so that it can be tested on bad examples too.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.commands import ROOT

README = ROOT / "README.md"
TASKS = (
    "tutorial",
    "ingest",
    "pacs",
    "stages",
    "scores",
    "reports",
    "checklists",
    "configuration",
    "python",
    "bundle",
    "own-model",
    "mixed-up-patient",
    "move-a-study",
    "nightly-runs",
    "scale",
)
"""Pages of docs/ for users, in the order in which their commands can be run after those of the README."""
TASK_PAGES = [README, *(ROOT / "docs" / f"{name}.md" for name in TASKS)]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
OURS = ("siamese-med", "make", "python")
"""First words of the commands that are checked beyond the syntax of bash."""
CODE = ("siamese_med", "tests", "flows", "benchmarks")
"""Folders of Python modules that a page may name."""

FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
VARIABLE = re.compile(r"\$([A-Z_]+)")
STUDY_KEY = re.compile(r"(\w+) = ")


@dataclass(frozen=True)
class Command:
    """One line of a console block: what is typed, the variables set before it, and the promised exit code."""

    page: Path
    text: str
    variables: tuple[str, ...] = ()
    code: int = 0

    def __str__(self) -> str:
        return f"{self.page.name}: {self.text}"


def blocks(page: Path, *languages: str) -> list[str]:
    """Code blocks of a page in these languages, in order."""
    return [content for language, content in FENCED.findall(page.read_text(encoding="utf-8")) if language in languages]


def mentions(page: Path) -> list[str]:
    """What a page sets in code type within its sentences."""
    return INLINE.findall(FENCED.sub("", page.read_text(encoding="utf-8")))


def commands(page: Path) -> list[Command]:
    """Lines of a page's console blocks that begin with one of OURS.

    `NAME=value` lines count for the commands after them; `# exit code 4` at a line's end promises that code.
    """
    found: list[Command] = []
    variables: tuple[str, ...] = ()
    for block in blocks(page, "console", "bash"):
        for line in [line.removeprefix("$ ") for line in block.replace("\\\n", " ").splitlines()]:
            code = re.search(r"# exit code (\d)", line)
            typed = line.split("  #")[0].strip()
            if re.match(r"[A-Z_]+=", typed):
                variables += (typed,)
            elif typed.split(" ")[0] in OURS:
                found.append(Command(page, typed, variables, int(code[1]) if code else 0))
    return found


def syntax_problem(block: str) -> str:
    """What bash says of a console block that it could not read; empty if it can."""
    script = "\n".join(line.removeprefix("$ ") for line in block.splitlines())
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def problem(command: Command) -> str:
    """What is wrong with a command that the documentation shows; empty if nothing is. Nothing is run."""
    words = arguments(command)
    if words[0] == "siamese-med":
        return usage_problem(words[1:])
    if words[0] == "make":
        return target_problem(words[1])
    return module_problem(words)


def mention_problem(text: str) -> str:
    """The same of a command within a sentence, which may leave arguments out."""
    if text.startswith("siamese-med "):
        wrong = usage_problem(text.split()[1:])
        return "" if wrong.startswith("Missing") or wrong.endswith("requires an argument.") else wrong
    if text.startswith("make "):
        return target_problem(text.split()[1])
    return module_problem(text.split()) if text.startswith("python -m ") else ""


def arguments(command: Command) -> list[str]:
    """The words that the program gets, up to a pipe or redirection; variables count as many words as they hold."""
    held = {name: _held(value) for name, value in (line.split("=", 1) for line in command.variables)}
    text = SUBSTITUTION.sub(lambda found: _held(found[1]), command.text)
    unknown = [name for name in VARIABLE.findall(text) if name not in held]
    assert not unknown, f"{command} uses ${unknown[0]}, which the page does not set"
    text = VARIABLE.sub(lambda found: held[found[1]], text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words = list(lexer)
    end = next((place for place, word in enumerate(words) if set(word) <= set("|&;<>")), len(words))
    return words[:end]


def _held(value: str) -> str:
    """Placeholders for what a substitution gives: as many words as its `head` or `cut` lets through, else one."""
    lines = re.search(r"\| head -(\d+)", value)
    return " ".join(["word"] * (int(lines[1]) if lines else 1))


def usage_problem(words: list[str]) -> str:
    """What our own command line says of a call that it would refuse; empty if it takes it. Nothing is run."""
    import typer
    from typer.exceptions import TyperException

    group = _command_line()
    try:
        with group.make_context("siamese-med", list(words)) as context:
            name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
            with command.make_context(name, rest, parent=context):
                return ""
    except typer.Exit:  # --help and --version have answered
        return ""
    except TyperException as error:
        return " ".join(error.format_message().split())


@cache
def _command_line() -> Any:
    from typer.main import get_command

    from siamese_med.cli.main import app

    return get_command(app)


def command_names() -> set[str]:
    """Every command of the command line."""
    return set(_command_line().commands)


@cache
def options() -> frozenset[str]:
    """Every option of every command."""
    every = [_command_line(), *_command_line().commands.values()]
    found = {name for command in every for parameter in command.params for name in parameter.opts}
    return frozenset(found | {"-h", "--help"})


def target_problem(target: str) -> str:
    """Whether the Makefile has a target."""
    known = re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return "" if known else f"the Makefile has no target {target}"


def module_problem(words: list[str]) -> str:
    """Whether a module of ours exists, and its source or that of its neighbours knows the options."""
    if words[:2] != ["python", "-m"] or not words[2].startswith(("benchmarks.", "tests.", "siamese_med.")):
        return ""
    found = importlib.util.find_spec(words[2])
    if found is None or found.origin is None:
        return f"there is no module {words[2]}"
    folder = Path(found.origin).parent
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    given = [word for word in words[3:] if word.startswith("--")]
    unknown = [word for word in given if not re.search(rf'"(--)?{word[2:]}"', source)]  # some are made from a name
    return f"{words[2]} has no option {unknown[0]}" if unknown else ""


def option_problem(text: str) -> str:
    """Of an option that stands alone in a sentence: whether a command has it."""
    name = text.split()[0]
    return "" if not name.startswith("--") or name in options() else f"no command has the option {name}"


def setting_problem(text: str) -> str:
    """Of `section.key` in a sentence: whether the configuration has it, where it has the section."""
    from siamese_med.study.config import Config

    named = re.fullmatch(r"(\w+)\.(\w+)(?: = .*)?", text)
    sections = Config.model_fields
    if not named or named[1] not in sections or named[2] in ("py", "md", "toml", "html", "tsv", "json"):
        return ""
    section: Any = sections[named[1]].annotation
    return "" if named[2] in section.model_fields else f"the configuration has no key {named[1]}.{named[2]}"


def path_problem(text: str) -> str:
    """Of a path into the repository in a sentence: whether it is there."""
    if re.fullmatch(r"[\w/]+\.py", text):  # of a module the last parts of its path may do
        known = any(path.as_posix().endswith(f"/{text}") for part in CODE for path in (ROOT / part).rglob("*.py"))
        return "" if known else f"there is no {text}"
    if not re.fullmatch(r"(tests|siamese_med|flows|docs)/[\w./-]+", text):
        return ""
    return "" if (ROOT / text).exists() else f"there is no {text}"


def toml_problem(block: str, folder: Path) -> str:
    """What the loader says of a TOML block, which is a study file or a configuration."""
    from siamese_med.errors import SiameseMedError
    from siamese_med.flows import study_files
    from siamese_med.study import config, study_file

    file = folder / "block.toml"
    file.write_text(block, encoding="utf-8")
    is_study = not tomllib.loads(block).keys() <= set(config.Config.model_fields)
    in_comments = {key for line in block.splitlines() if line.startswith("#") for key in STUDY_KEY.findall(line)}
    if is_study and (unknown := in_comments - set(study_file.KEYS)):
        return f"a study file has no key {min(unknown)}"
    try:
        study_files.load_study_file(str(file)) if is_study else config.load_config(file)
    except SiameseMedError as error:
        return str(error)
    return ""


def python_problems(block: str) -> Iterator[str]:
    """Syntax, imports, attributes of imported names, and whether their calls take these arguments."""
    tree = ast.parse(block)
    names: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: importlib.import_module(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                if not hasattr(module, alias.name):
                    yield f"{node.module} has no {alias.name}"
                else:
                    names[alias.asname or alias.name] = getattr(module, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
            if not hasattr(names[node.value.id], node.attr):
                yield f"{node.value.id} has no {node.attr}"
        elif isinstance(node, ast.Call):
            yield from _call_problems(node, names)


def _call_problems(call: ast.Call, names: dict[str, Any]) -> Iterator[str]:
    called = _resolved(call.func, names)
    if called is None:
        return
    try:
        inspect.signature(called).bind(*call.args, **{word.arg: word.value for word in call.keywords if word.arg})
    except TypeError as error:
        yield f"{ast.unparse(call.func)}: {error}"
    except ValueError:  # built in, without a signature
        return


def _resolved(node: ast.expr, names: dict[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
        return getattr(names[node.value.id], node.attr, None)
    return None


def link_problems(page: Path) -> Iterator[str]:
    """Links of a page to files, and to headings in them, that are not there."""
    for link in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists():
            yield f"{link} leads nowhere"
        elif anchor and anchor not in _anchors(target):
            yield f"{link} names no heading"


def _anchors(page: Path) -> set[str]:
    """Headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
