"""Outcomes of the files of all inputs: counts and shares for a bar."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siamese_med.study.tables import IngestAccount


@dataclass(frozen=True)
class FileOutcome:
    """What became of some of the files."""

    name: str
    files: int
    share: float


@dataclass(frozen=True)
class FileCounts:
    """The account of all files ever seen; `reasons` are (word, files), the most frequent first."""

    files_seen: int
    balanced: bool
    outcomes: tuple[FileOutcome, ...]
    reasons: tuple[tuple[str, int], ...]


def count_files_by_outcome(account: IngestAccount) -> FileCounts:
    """Count files by outcome (ingested, skipped, duplicate, quarantined) and by reason.

    Each share is of `files_seen`, 0 to 1; all shares are zero where no file was seen.
    """
    files = asdict(account)
    return FileCounts(
        files_seen=account.files_seen,
        balanced=account.balanced(),
        outcomes=tuple(
            FileOutcome(name, files[name], files[name] / account.files_seen if account.files_seen else 0.0)
            for name in ("ingested", "skipped", "duplicate", "quarantined")
        ),
        reasons=tuple(sorted(account.reasons.items(), key=lambda item: (-item[1], item[0]))),
    )
