"""`--within SECONDS`: no test goes on after that time. By it .ci/run gives make test-long what is left of its own.

Tests that are not reached, and the one that is cut, are skipped by name; fixtures clean up. None counts as a failure.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Generator
from typing import Any, NoReturn

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--within", type=float, metavar="SECONDS", help="skip the tests that this time is too short for")
    parser.addoption("--ends-at", type=float, help="the same as a point in time, for the processes of pytest-xdist")


def pytest_configure(config: pytest.Config) -> None:
    """The processes of pytest-xdist take over all options, so they all end at one time."""
    if config.option.within is not None and config.option.ends_at is None:
        config.option.ends_at = time.time() + config.option.within


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _limited(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _limited(item))


def _limited(item: pytest.Item) -> Generator[None, Any, Any]:
    if item.config.option.ends_at is None:
        return (yield)
    left_s = item.config.option.ends_at - time.time()
    if left_s <= 0:
        pytest.skip(f"not reached in time: {item.nodeid}")

    def cut(*_: object) -> NoReturn:
        pytest.skip(f"cut by time: {item.nodeid}")

    before = signal.signal(signal.SIGALRM, cut)
    signal.setitimer(signal.ITIMER_REAL, left_s)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
