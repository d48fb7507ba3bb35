"""What all tests share: a home of their own, so that no test sees or leaves anything in the user's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import studies
from tests.studies import Made

if TYPE_CHECKING:
    from siamese_med.phantom.anatomy import Anatomy
    from siamese_med.phantom.scanner import Acquisition

OURS = ("PREFECT_", "SIAMESE_MED_", "XDG_")
TOGETHER = ("end_to_end", "flows", "phantom", "preparation")
"""Folders whose tests share something that takes long to make, so they run in one process."""
FIRST = ("test_readme.py", "flows", "end_to_end")

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes test at once; torch's threads would wait for one another


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test starts first, then the folders that take longest."""
    last = len(FIRST)
    items.sort(key=lambda item: next((n for n, name in enumerate(FIRST) if name in item.path.parts), last))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Every file, and every folder of TOGETHER, is tested by one process: fixtures that take long are made once.

    Not by `--dist loadgroup`: with pytest 9.2 xdist 3.8 puts every test by itself, whatever its group.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = Path(nodeid.partition("::")[0])
            return path.parent.name if path.parent.name in TOGETHER else str(path)

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty home with an empty Prefect home in it, and none of the variables that name other places."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(OURS)]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("PREFECT_HOME", str(folder / "prefect"))
        yield folder


@pytest.fixture(scope="session")
def person() -> Anatomy:
    """One simulated patient, made once."""
    import numpy as np

    from siamese_med.phantom import anatomy

    return anatomy.patient(np.random.default_rng(0), difference=0.5)


@pytest.fixture(scope="session")
def acquired() -> Callable[..., Acquisition]:
    """Scans a patient coarsely (3 mm): the same seed gives the same pose, field of view and noise."""
    return studies.acquire


@pytest.fixture(scope="session")
def made_study() -> Made:
    """A small study that was trained, scored and reported, shared by all tests and processes: only to be read."""
    return studies.made()
