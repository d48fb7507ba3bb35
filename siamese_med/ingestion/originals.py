"""From scans back to the very files they were made of, for those who hold the secret.

Names are walked and compared by keyed hash, as `revealing` does; a file counts only while its content is the one that
the catalogue knows.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from siamese_med.ingestion import catalogue, reading, sources
from siamese_med.ingestion.entries import entry_of
from siamese_med.ingestion.reasons import RejectedError
from siamese_med.ingestion.secret import pseudonyms
from siamese_med.ingestion.tables import Unit


@dataclass(frozen=True)
class Original:
    """One file of a scan: its SHA-256, and where it lay when it was ingested; a path may name a patient."""

    sha256: str
    paths: tuple[Path, ...] = field(repr=False)

    def content(self) -> bytes | None:
        """The bytes, read once and checked; None where the file is gone, unreadable or another one by now."""
        for path in self.paths:
            try:
                data = reading.content(path)
            except (OSError, RejectedError):
                continue
            if hashlib.sha256(data).hexdigest() == self.sha256:
                return data
        return None


def originals(
    scans: Collection[str], url: str, secret_file: Path | None, source: Path
) -> dict[str, tuple[Original, ...]]:
    """The files below `source` that each scan was made of, by scan id; a scan that lacks one is left out.

    Raises MissingFileError, EmptyInputError, ManifestError, SecretError and CatalogueError.
    """
    secret = pseudonyms(secret_file, make=False)
    with catalogue.reading(url, secret.label("catalogue")) as connection:
        files: dict[str, list[Unit]] = defaultdict(list)
        for row in catalogue.some_rows(connection, "file", "scan", sorted(scans)):
            files[row["scan"]].append((row["sha256"], row["claim"]))
        wanted = {unit for units in files.values() for unit in units}
        entries = {entry.key: entry for entry in (entry_of(one, secret) for one in sources.collect(source))}
        paths: dict[Unit, list[Path]] = defaultdict(list)
        for row in catalogue.some_rows(connection, "path", "key", entries):
            if (unit := (row["sha256"], row["claim"])) in wanted:
                paths[unit].append(entries[row["key"]].found.path)
    return {
        scan: tuple(Original(unit[0], tuple(sorted(paths[unit]))) for unit in sorted(units))
        for scan, units in files.items()
        if all(unit in paths for unit in units)
    }
