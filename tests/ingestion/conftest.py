"""A secret for the tests of ingest, and one way to run it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from siamese_med.ingestion import ingest_folder
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.study.config import IngestConfig
from siamese_med.study.tables import IngestAccount, IngestResult
from tests.ingestion import children


@dataclass
class Place:
    """A data folder, and ingest into it."""

    data: Path
    secret: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.data / 'catalogue.sqlite'}"

    def ingest(self, source: Path, **settings: Any) -> IngestResult:
        config = IngestConfig(secret_file=self.secret, **{"workers": 2, **settings})
        with children.kept():
            ingested = ingest_folder.ingest_files(source, self.data, self.url, config)
        assert ingested.account.balanced()
        return ingested

    def account(self) -> IngestAccount:
        return catalogue.read_account(self.url)

    def scans(self) -> pd.DataFrame:
        return catalogue.read_scan_table(self.url)

    def voxels(self, scan: str) -> np.ndarray:
        """Stored voxels of a scan."""
        path = self.scans().set_index("id").loc[scan, "path"]
        return np.asarray(nib.load(self.data / path).dataobj)

    def reasons(self, folder: Path) -> dict[str, str]:
        """Reason word (empty: ingested) of every file of a folder, by its name."""
        known = catalogue.read_file_table(self.url).set_index("sha256")["reason"]
        return {
            path.name: str(known[hashlib.sha256(path.read_bytes()).hexdigest()]) for path in sorted(folder.iterdir())
        }


@pytest.fixture(scope="session", autouse=True)
def no_child_left() -> Iterator[None]:
    """Worker processes that wait for another ingest end with the tests."""
    yield
    children.end()


@pytest.fixture(scope="module")
def shared_workers() -> Iterator[None]:
    """All ingests of a module that does not use `Place` share their worker processes."""
    with children.kept():
        yield


@pytest.fixture(scope="session")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A secret that only its owner can read."""
    path = tmp_path_factory.mktemp("secret") / "secret"
    path.write_bytes(b"0123456789abcdef0123456789abcdef")
    path.chmod(0o600)
    return path


@pytest.fixture(scope="session")
def new_place(tmp_path_factory: pytest.TempPathFactory, secret: Path) -> Callable[[], Place]:
    """Makes data folders."""
    return lambda: Place(tmp_path_factory.mktemp("place") / "data", secret)


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Place:
    """An empty data folder."""
    return new_place()
