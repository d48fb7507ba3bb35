"""What all tests share: a home of their own, so that no test sees or leaves anything in the user's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import studies
from tests.studies import Made

if TYPE_CHECKING:
    from siamese_med.simulation.anatomy import Anatomy
    from siamese_med.simulation.scanner import Acquisition

pytest_plugins = ["tests.time_limit"]

OURS = ("PREFECT_", "SIAMESE_MED_", "XDG_")
FIRST = (
    "test_readme.py",
    "flows/test_killed_runs.py",
    "flows/test_serving.py",
    "end_to_end/test_nightly.py",
    "flows/test_air_gap.py",
    "flows/test_postgres.py",
    "training/test_distributed.py",
    "ingestion/test_corpus.py",
    "ingestion/test_machine_errors.py",
    "flows/",
    "training/",
    "network/",
    "reporting/",
    "ingestion/",
    "end_to_end/",
)
"""Which tests start first: of the quick ones those that take longest, so that all processes end at the same time, and
two that do without the shared study while one process makes it; of the long ones those that tell most, since .ci/run
may not have the time for all."""

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes test at once: torch would start too many threads


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files and folders of FIRST come first, in this order."""
    places = [f"/tests/{place}" for place in (*FIRST, "")]
    items.sort(key=lambda item: next(n for n, place in enumerate(places) if place in item.path.as_posix()))


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty home with an empty Prefect home in it, and none of the variables that name other places."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(OURS)]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("PREFECT_HOME", str(folder / "prefect"))
        from siamese_med.flows import PREFECT_ENVIRONMENT

        for name, value in PREFECT_ENVIRONMENT.items():  # it may have been imported, and its variables deleted above
            patch.setenv(name, value)
        yield folder


@pytest.fixture(scope="session")
def person() -> Anatomy:
    """One simulated patient, made once."""
    import numpy as np

    from siamese_med.simulation import anatomy

    return anatomy.simulate_anatomy(np.random.default_rng(0), difference=0.5)


@pytest.fixture(scope="session")
def acquired() -> Callable[..., Acquisition]:
    """Scans a patient coarsely (3 mm): the same seed gives the same pose, field of view and noise."""
    return studies.acquire


@pytest.fixture(scope="session")
def made_study() -> Iterator[Made]:
    """A small study that was trained, scored and reported, shared by all tests and processes: only to be read."""
    study = studies.made()
    yield study
    assert studies.untouched(study), "a test wrote into the shared study: let it take made_study.copy(tmp_path)"
