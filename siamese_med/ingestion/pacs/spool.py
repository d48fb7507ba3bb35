"""A private folder for files on their way from a PACS: unreadable for others, with neutral names, emptied at end."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.runtime import files

SPOOL_FOLDER_NAME = ".spool"
"""Name of the folder below the data folder."""


class Spool:
    """The spool during one run. Files are named by the SHA-256 of their content; `size` is the total in bytes."""

    def __init__(self, folder: Path, secret: Pseudonyms) -> None:
        self.folder, self.size = folder, 0
        self._secret = secret

    def series(self, study: str, series: str) -> Path:
        """Make an empty folder for the files of one series; what was in it is removed.

        Its name is an HMAC of the UIDs, so a further try uses the same folder.
        """
        inner = self.folder / self._secret.label("spool", study) / self._secret.label("spool", study, series)
        self.discard(inner)
        for folder in (inner.parent, inner):
            folder.mkdir(mode=0o700, exist_ok=True)
        return inner

    def take(self, folder: Path, data: bytes) -> str:
        """Write one file completely or not at all.

        The file has mode 0600 and is named by its hash, so a file that arrives twice is stored once.

        Returns
        -------
        str
            SHA-256 of the content.

        Raises
        ------
        NoSpaceError
            The disk is full.
        """
        digest = hashlib.sha256(data).hexdigest()
        temporary = folder / ".tmp-taken"
        with files.translate_write_errors(folder):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            temporary.replace(folder / digest)
        self.size += len(data)
        return digest

    def discard(self, folder: Path) -> None:
        """Remove the folder of a series that did not arrive completely, and subtract its files from `size`."""
        if folder.is_dir():
            self.size -= sum(path.stat().st_size for path in folder.iterdir())
            shutil.rmtree(folder)

    def clear(self) -> None:
        """Remove all files, and make the folder again, readable by the user alone (mode 0700)."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True)
        self.size = 0


@contextmanager
def open_spool(data: Path, secret: Pseudonyms) -> Iterator[Spool]:
    """Open the spool below a data folder, empty at first, and remove it afterwards.

    A killed run may have left files in it. A lock keeps other pulls away meanwhile.
    """
    spool = Spool(data / SPOOL_FOLDER_NAME, secret)
    with files.hold_exclusive_lock(data / f"{SPOOL_FOLDER_NAME}.lock"):
        spool.clear()
        try:
            yield spool
        finally:
            shutil.rmtree(spool.folder, ignore_errors=True)
