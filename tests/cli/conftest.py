"""Commands in the process of the tests share their worker processes: a start costs more than the work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ingestion import children


@pytest.fixture(scope="session", autouse=True)
def shared_workers() -> Iterator[None]:
    with children.kept():
        yield
    children.end()
