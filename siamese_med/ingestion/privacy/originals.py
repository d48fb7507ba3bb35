"""From scans back to the files they were made of, for holders of the secret.

Only names are listed and compared by keyed hash, as in `reidentification`; a file counts only while its content is the
one that the catalogue knows.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from siamese_med.ingestion.catalogue import catalogue
from siamese_med.ingestion.catalogue.rows import FILE_TABLE, PATH_TABLE
from siamese_med.ingestion.catalogue.tables import ContentUnit
from siamese_med.ingestion.inputs import open_files, sources
from siamese_med.ingestion.inputs.entries import make_entry
from siamese_med.ingestion.privacy.pseudonyms import load_pseudonyms
from siamese_med.ingestion.reasons import RejectedError


@dataclass(frozen=True)
class OriginalFile:
    """One file of a scan: its SHA-256, and where it lay when it was ingested.

    Paths may name a patient, so they are left out of the representation.
    """

    sha256: str
    paths: tuple[Path, ...] = field(repr=False)

    def content(self) -> bytes | None:
        """Read the file and check its hash.

        Returns
        -------
        bytes or None
            None where the file is gone, unreadable, or has another content by now.
        """
        for path in self.paths:
            try:
                data = open_files.read_regular_file(path)
            except (OSError, RejectedError):
                continue
            if hashlib.sha256(data).hexdigest() == self.sha256:
                return data
        return None


def find_original_files(
    scans: Collection[str], url: str, secret_file: Path | None, source: Path
) -> dict[str, tuple[OriginalFile, ...]]:
    """Find the files below `source` that scans were made of.

    Parameters
    ----------
    scans
        Scan ids.
    url
        SQLAlchemy URL of the catalogue.
    secret_file
        The pseudonym secret, or None for the default one; never created here.
    source
        The input, as it was given to ingest.

    Returns
    -------
    dict of str to tuple of OriginalFile
        Files by scan id; a scan that lacks one of its files is left out.

    Raises
    ------
    MissingFileError, EmptyInputError, ManifestError, SecretError, CatalogueError
        The input, the secret or the catalogue is missing or broken.
    """
    secret = load_pseudonyms(secret_file, make=False)
    with catalogue.open_catalogue(url, secret.label("catalogue")) as connection:
        files: dict[str, list[ContentUnit]] = defaultdict(list)
        for row in catalogue.select_rows(connection, FILE_TABLE, "scan", sorted(scans)):
            files[row["scan"]].append((row["sha256"], row["claim"]))
        wanted = {unit for units in files.values() for unit in units}
        entries = {
            entry.key: entry for entry in (make_entry(one, secret) for one in sources.collect_input_paths(source))
        }
        paths: dict[ContentUnit, list[Path]] = defaultdict(list)
        for seen in catalogue.select_rows(connection, PATH_TABLE, "key", entries):
            if (unit := (seen["sha256"], seen["claim"])) in wanted:
                paths[unit].append(entries[seen["key"]].found.path)
    return {
        scan: tuple(OriginalFile(unit[0], tuple(sorted(paths[unit]))) for unit in sorted(units))
        for scan, units in files.items()
        if all(unit in paths for unit in units)
    }
