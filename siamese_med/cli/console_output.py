"""Output of the command line: one JSON object or short tables, and one line for an error."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from siamese_med.runtime import interruption
from siamese_med.runtime.terminal_text import format_duration, make_printable

if TYPE_CHECKING:
    from rich.table import Table

MAX_ROWS_SHOWN = 12
"""Rows of a table that are shown in a terminal; JSON has all of them."""
TABLES_SHOWN_WHOLE = ("reasons",)
"""Tables that are not cut off."""
COLUMNS_ONLY_IN_JSON = (
    "affine", "path", "subject", "session", "modality", "contrast_source", "contrast_confidence", "shape", "spacing_mm",
)  # fmt: skip
"""Columns of a scan that are left out in a terminal; its id contains subject and session, and the ingest page all."""
PSEUDONYM_PREFIX = "sub-"
"""Beginning of the ids of subjects and scans. They are never broken or cut, so that they can be copied."""
MAX_TABLE_WIDTH = 1000
"""Width, in characters, up to which a table may be wider than the terminal, where its ids need it."""
DECIMALS_BELOW = 100.0
"""From here on a number is shown without decimals, never as 1.14e+03."""

MACHINE_ERRNOS = (
    errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV,
)  # fmt: skip
"""System errors of a disk, a network share or of limits of the machine."""


ANSWER_LOG = logging.getLogger("siamese_med.answers")
"""Log of what the terminal has already as the answer; it goes to the log file alone."""


@dataclass(frozen=True)
class CommandResult:
    """Result of a command.

    Parameters
    ----------
    facts
        What JSON and the tables show.
    unfinished
        What was left undone.
    failed_checks
        Checks that failed.
    text
        Text that is printed as it is, in place of tables.
    closing
        Last line below the tables.
    """

    facts: Mapping[str, object]
    unfinished: tuple[str, ...] = ()
    failed_checks: tuple[str, ...] = ()
    text: str | None = None
    closing: str | None = field(default=None)

    def exit_code(self, strict: bool) -> int:
        """Return 0 if all is done, 4 if it is done in part, 5 if a check failed and `strict` is set.

        Examples
        --------
        >>> CommandResult({}, unfinished=("2 scans",)).exit_code(strict=True)
        4
        """
        if strict and self.failed_checks:
            return 5
        return 4 if self.unfinished else 0


def configure_logging(quiet: bool, debug: bool) -> None:
    """Send logs to standard error, silence warnings of libraries, and end on SIGTERM with exit code 143.

    Parameters
    ----------
    quiet
        Log errors only.
    debug
        Keep the warnings of libraries.
    """
    if not interruption.is_supervised():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    handler = logging.StreamHandler(sys.stderr)
    log = logging.getLogger("siamese_med")
    handler.setLevel(logging.ERROR if quiet else logging.INFO)
    handler.setFormatter(_TerminalFormatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    ANSWER_LOG.propagate, ANSWER_LOG.handlers = False, [logging.NullHandler()]
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    if not debug:
        # on a slow machine its first import in a new home folder writes a line of its own
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    if not debug and not sys.warnoptions:
        warnings.simplefilter("ignore")


class _TerminalFormatter(logging.Formatter):
    """Progress with the time of day, warnings without it."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record) if record.levelno == logging.INFO else record.getMessage()


def begin_log_file(file: Path, command: str) -> None:
    """Have everything that is logged from now on appended to a file, beginning with the version and the command.

    The file gets stages, warnings, what is unfinished and the exit code, and no arguments: a path may name a patient.

    Raises
    ------
    UsageError
        The file cannot be written.
    """
    import siamese_med
    from siamese_med.errors import UsageError

    try:
        handler = logging.FileHandler(file, encoding="utf-8", errors="replace")
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise UsageError(f"--log cannot be written ({reason}): name a file in a folder that exists") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    for log in (logging.getLogger("siamese_med"), ANSWER_LOG):
        log.addHandler(handler)
    ANSWER_LOG.info("siamese-med %s, %s", siamese_med.__version__, command)


def log_answer(answer: CommandResult, code: int) -> None:
    """Write what was not done or is doubtful, and the exit code, to the log file, if there is one."""
    ANSWER_LOG.info("%s", "; ".join((*answer.unfinished, *answer.failed_checks, f"exit code {code}")))


def explain_error(error: BaseException) -> tuple[str, int, Mapping[str, object]]:
    """Return one line on an error, its exit code, and the facts that a failed stage still reports.

    Examples
    --------
    >>> explain_error(KeyboardInterrupt())
    ('interrupted; the same command goes on where it stopped', 130, {})
    """
    from siamese_med.errors import SiameseMedError

    error = _named(getattr(error, "original", error))
    if isinstance(error, SiameseMedError):
        return " ".join(str(error).split()), error.exit_code, getattr(error, "facts", {})
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the same command goes on where it stopped", 130, {}
    return f"unexpected {type(error).__name__}: run again with --debug to see where", 1, {}


def _named(error: BaseException) -> BaseException:
    """The error, or what it means where the machine fails and whatever noticed it does not say so."""
    from siamese_med.errors import MachineError
    from siamese_med.runtime import files

    if isinstance(error, MemoryError):
        return MachineError("out of memory: end other programs, or set fewer workers, then run the same command again")
    if not isinstance(error, OSError):
        return error
    if files.is_disk_full_error(error):
        return files.make_no_space_error(Path(error.filename).parent if isinstance(error.filename, str) else Path.cwd())
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return MachineError(
            f"{os.strerror(error.errno).lower()}: check that the input, --data and --reports are folders that you may "
            "read and write, or name others"
        )
    if error.errno in MACHINE_ERRNOS:
        return MachineError(
            f"the machine failed ({os.strerror(error.errno).lower()}): repair that, then run the same command again"
        )
    return error


@contextmanager
def reserve_streams(as_json: bool, quiet: bool) -> Iterator[tuple[TextIO, TextIO]]:
    """Reserve standard output for the answer and standard error for errors; the block gets both.

    With --json, whatever a library or a child process prints to standard output goes to standard error. With --quiet,
    whatever goes to standard error is discarded. File descriptors are redirected, because redirecting Python's streams
    does not reach child processes.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with _reopen(kept[0]) as answers, _reopen(kept[1]) as errors, Path(os.devnull).open("w") as nowhere:
        noise = nowhere if quiet else errors
        os.dup2(noise.fileno(), 2)
        if as_json:
            os.dup2(noise.fileno(), 1)
        try:
            with redirect_stderr(noise), redirect_stdout(noise if as_json else answers):
                yield answers, errors
        finally:
            answers.flush()
            errors.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)


def _reopen(descriptor: int) -> TextIO:
    """Open a stream for text; what the encoding of the terminal lacks becomes a question mark."""
    return os.fdopen(descriptor, "w", errors="replace")


def write_json_answer(stream: TextIO, value: Mapping[str, object]) -> None:
    """Write one JSON object, followed by a line break.

    Parameters
    ----------
    stream
        Where to write.
    value
        The object; values without an equivalent in JSON (NaN, infinity) become null, see `to_json_value`.
    """
    stream.write(json.dumps(to_json_value(value), indent=2, allow_nan=False) + "\n")


def to_json_value(value: Any) -> Any:
    """Convert a value to JSON's types: arrays to lists, paths to text, missing values and infinities to None.

    Examples
    --------
    >>> to_json_value({"folder": Path("data"), "z": (1.5, float("nan"))})
    {'folder': 'data', 'z': [1.5, None]}
    """
    if value is None or (isinstance(value, str | bool | int) and type(value).__module__ == "builtins"):
        return value
    if hasattr(value, "tolist"):
        return to_json_value(value.tolist())
    if isinstance(value, dict):
        return {str(key): to_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [to_json_value(item) for item in value]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return None if type(value).__name__ in ("NAType", "NaTType") else str(value)


def write_answer(stream: TextIO, answer: CommandResult) -> None:
    """Write an answer for people: its text, or its facts as tables followed by the closing line.

    Parameters
    ----------
    stream
        Where to write.
    answer
        Result of the command.
    """
    if answer.text is not None:
        stream.write(answer.text.rstrip("\n") + "\n")
        return
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    for table in _tables(to_json_value(answer.facts)):
        least = Console(file=stream, width=MAX_TABLE_WIDTH).measure(table).minimum
        Console(file=stream, highlight=False, width=max(console.width, least)).print(table)
    for problem in dict.fromkeys((*answer.unfinished, *answer.failed_checks)):
        console.print(f"[yellow]{problem}[/yellow]")
    if answer.closing:
        console.print(make_printable(answer.closing), soft_wrap=True, markup=False)


def _tables(facts: Mapping[str, object]) -> Iterator[Table]:
    """One table of the single values, one for each list of records."""
    from rich.table import Table

    singles = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in _flat(facts):
        is_time = name.startswith("seconds ") and isinstance(value, int | float)
        cell = format_duration(float(str(value))) if is_time else _cell(value)
        singles.add_row(name.replace("_", " ").removeprefix("seconds " if is_time else ""), cell)
    if singles.rows:
        yield singles
    for name, rows in facts.items():
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            yield _records(name, rows)


def _records(name: str, rows: Sequence[Mapping[str, object]]) -> Table:
    from rich import box
    from rich.table import Table

    columns = [column for column in rows[0] if "id" not in rows[0] or column not in COLUMNS_ONLY_IN_JSON]
    shown = len(rows) if name in TABLES_SHOWN_WHOLE else MAX_ROWS_SHOWN
    left = len(rows) - shown
    caption = f"and {left} more, see --json" if left > 0 else None
    table = Table(title=name, title_justify="left", caption=caption, caption_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        ids = any(str(row[column]).startswith(PSEUDONYM_PREFIX) for row in rows[:shown])
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=ids)
    for row in rows[:shown]:
        table.add_row(*(_cell(row[column]) for column in columns))
    return table


def _flat(facts: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name} ")
        elif not (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield prefix + name, value


def _cell(value: object) -> str:
    """A value as text that neither the terminal nor rich's markup takes for a command."""
    from rich.markup import escape

    return escape(make_printable(_short(value)))


def _short(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= DECIMALS_BELOW else f"{value:.3g}"
    if isinstance(value, list):
        return " ".join(_short(item) for item in value) or "none"
    return "none" if value is None else str(value)


def shorten_path(path: Path) -> str:
    """Return a path relative to the working folder if it lies below it, else the path itself.

    Examples
    --------
    >>> shorten_path(Path.cwd() / "reports" / "index.html")
    'reports/index.html'
    """
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
