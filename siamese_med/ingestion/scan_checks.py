"""A user's own checks of scans: one that refuses a scan gives the word and the hint that people read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from siamese_med.errors import PluginError
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion.reasons import REASON_HINTS, RejectedError
from siamese_med.plugins import Plugin, bind_plugin, find_plugin
from siamese_med.study.config import IngestConfig
from siamese_med.study.plugin_names import PluginKind

WORD = re.compile(r"[a-z][a-z0-9_]{2,39}")
MAX_HINT_LENGTH = 200
"""Characters of a hint: it stands in one line of a table."""


class ScanCheck(Protocol):
    """Says whether a scan is to be refused, and what people read then.

    word: the reason word, lower case, of letters, digits and `_`. hint: what to do, in one line.
    """

    @property
    def word(self) -> str: ...
    @property
    def hint(self) -> str: ...
    def __call__(self, scan: Volume) -> bool: ...


@dataclass(frozen=True)
class _NamedCheck:
    """A check with its word and its hint."""

    word: str
    hint: str
    check: Callable[[Volume], bool]

    def __call__(self, scan: Volume) -> bool:
        return self.check(scan)


def scan_checks(config: IngestConfig) -> tuple[Plugin, ...]:
    """List the checks that the configuration names, in its order; nothing is imported."""
    return tuple(find_plugin(PluginKind.REASON, name, arguments) for name, arguments in config.reasons.items())


def own_hints(config: IngestConfig) -> dict[str, str]:
    """Return the words of these checks, and what to do about each; raises PluginError where one cannot be used."""
    checks = [_imported(plugin) for plugin in scan_checks(config)]
    return {check.word: check.hint for check in checks}


def check_scan(scan: Volume, checks: Sequence[Plugin]) -> None:
    """Ask every check; raises RejectedError with the word of the first that refuses the scan, or `check_failed`."""
    for plugin in checks:
        check = _imported(plugin)
        try:
            refused = bool(check(scan))
        except (OSError, MemoryError):
            raise  # the machine's fault
        except Exception as error:
            raise RejectedError("check_failed") from error
        if refused:
            raise RejectedError(check.word)


@lru_cache(maxsize=16)
def _imported(plugin: Plugin) -> ScanCheck:
    found = bind_plugin(plugin, ("scan",))
    holder = getattr(found, "func", found)  # a function with arguments set keeps its word and hint
    word, hint = getattr(holder, "word", None), getattr(holder, "hint", None)
    if not isinstance(word, str) or not WORD.fullmatch(word) or word in REASON_HINTS:
        raise PluginError(f"{plugin} needs a `word` of its own, of lower-case letters, digits and _: it has {word!r}")
    if not isinstance(hint, str) or not 0 < len(hint) <= MAX_HINT_LENGTH or "\n" in hint:
        raise PluginError(f"{plugin} needs a `hint`, one line of at most {MAX_HINT_LENGTH} characters on what to do")
    return _NamedCheck(word, hint, found)
