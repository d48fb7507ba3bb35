"""A private folder for files on their way from a PACS: nobody else may look, names tell nothing, nothing stays."""

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


class Spool:
    """The folder while one run holds it; files are named by the hash of their content."""

    def __init__(self, folder: Path, secret: Pseudonyms) -> None:
        self.folder, self.size = folder, 0
        self._secret = secret

    def series(self, study: str, series: str) -> Path:
        """An empty folder for the files of one series, the same one each time."""
        inner = self.folder / self._secret.label("spool", study) / self._secret.label("spool", study, series)
        self.discard(inner)
        for folder in (inner.parent, inner):
            folder.mkdir(mode=0o700, exist_ok=True)
        return inner

    def take(self, folder: Path, data: bytes) -> str:
        """Write one file whole or not at all; returns the SHA-256 of its content."""
        digest = hashlib.sha256(data).hexdigest()
        temporary = folder / ".tmp-taken"
        with files.translate_full_disk_errors(folder):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            temporary.replace(folder / digest)
        self.size += len(data)
        return digest

    def discard(self, folder: Path) -> None:
        """Remove what came of a series that did not come whole."""
        if folder.is_dir():
            self.size -= sum(path.stat().st_size for path in folder.iterdir())
            shutil.rmtree(folder)

    def clear(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True)
        self.size = 0


@contextmanager
def open_spool(data: Path, secret: Pseudonyms) -> Iterator[Spool]:
    """A spool below the data folder, emptied before, since a killed run may have left something, and removed after."""
    spool = Spool(data / SPOOL_FOLDER_NAME, secret)
    with files.hold_exclusive_lock(data / f"{SPOOL_FOLDER_NAME}.lock"):
        spool.clear()
        try:
            yield spool
        finally:
            shutil.rmtree(spool.folder, ignore_errors=True)
