"""A whole small study, from NIfTI files to a model: a copy of the one that all tests share (tests/studies.py)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from siamese_med.ingestion.privacy import pseudonyms
from siamese_med.study.tables import Study
from tests import studies
from tests.ingestion import children
from tests.studies import PATIENTS, VISITS, Made

__all__ = ["CONFIG", "PATIENTS", "VISITS", "Tracked"]

CONFIG = studies.small()


@dataclass(frozen=True)
class Tracked:
    """A study that went through ingest, prepare, pair and train."""

    study: Study
    export: Path
    model: Path


@pytest.fixture(scope="session", autouse=True)
def known_secret(home: Path) -> None:
    """The secret of the shared study, where the stages look for one."""
    path = pseudonyms.get_default_secret_file()
    assert path.is_relative_to(home)
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    path.write_bytes(studies.SECRET)
    path.chmod(0o600)


@pytest.fixture(scope="session", autouse=True)
def small() -> Iterator[None]:
    """Everything in this process, since starting others costs more than the work; ingests share their one worker."""
    with pytest.MonkeyPatch.context() as patch, children.kept():
        patch.setattr(os, "cpu_count", lambda: 1)
        yield
    children.end()


@pytest.fixture(scope="session")
def tracked(made_study: Made, tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    folder = made_study.copy(tmp_path_factory.mktemp("study"), scored=False)
    export = made_study.copy_export(folder / "export")
    study = Study(folder / "data", folder / "reports", CONFIG)
    return Tracked(study, export, study.models / made_study.model.name)
