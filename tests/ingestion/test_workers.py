"""Processes that die, hang or fail cost their own task only."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from siamese_med.ingestion.workers import WorkerLostError, Workers

HANGS_S = 3600
"""Seconds that a task hangs: far more than a busy machine may need for all the rest."""


def act(task: tuple[str, Any]) -> Any:
    """What a decoder might do with hostile bytes."""
    verb, value = task
    if verb == "die":
        os._exit(11)
    if verb == "die once" and not Path(value).exists():
        Path(value).touch()
        os._exit(11)
    if verb == "hang":
        time.sleep(HANGS_S)
    if verb == "fail":
        raise ValueError(value)
    if verb == "print":
        os.write(1, str(value).encode())
        os.write(2, str(value).encode())
    return value


def test_results_come_with_the_index_of_their_task() -> None:
    with Workers(2, 60) as workers:
        results = dict(workers.each(act, [("echo", number) for number in range(20)]))
    assert results == {number: number for number in range(20)}


@pytest.mark.parametrize("verb", ["die", "hang", "fail"])
def test_a_lost_task_leaves_the_others_alone(verb: str) -> None:
    tasks = [("echo", 0), (verb, "Doe^Jane"), ("echo", 2), ("echo", 3)]
    started = time.monotonic()
    with Workers(2, 3) as workers:
        results = dict(workers.each(act, tasks))
    assert isinstance(results[1], WorkerLostError)
    assert "Doe" not in str(results[1])
    assert [results[index] for index in (0, 2, 3)] == [0, 2, 3]
    assert time.monotonic() - started < HANGS_S / 2


def test_a_task_whose_process_was_ended_gets_another(tmp_path: Path) -> None:
    mark = str(tmp_path / "died")
    with Workers(1, 60) as workers:
        assert dict(workers.each(act, [("die once", mark), ("echo", 1)])) == {0: mark, 1: 1}
    assert workers.lost == 1


def test_a_task_that_hangs_gets_no_second_chance() -> None:
    started = time.monotonic()
    with Workers(1, 2) as workers:
        assert isinstance(dict(workers.each(act, [("hang", 0)]))[0], WorkerLostError)
    assert workers.lost == 1
    assert time.monotonic() - started < HANGS_S / 2


def test_what_a_decoder_prints_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    with Workers(1, 60) as workers:
        assert dict(workers.each(act, [("print", "Doe^Jane")])) == {0: "Doe^Jane"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_process_killed_between_two_tasks_costs_nothing(size: int) -> None:
    """The second task is written to a pipe that nobody reads; closing it must not fail again."""
    with Workers(1, 60) as workers:
        assert dict(workers.each(act, [("echo", 0)])) == {0: 0}
        for child in workers._children:
            child._process.kill()
            child._process.wait()
        assert dict(workers.each(act, [("echo", "x" * size)])) == {0: "x" * size}
