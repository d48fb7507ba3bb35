"""Jobs in threads: all at once, each with one torch thread, results in order, and all as before afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from siamese_med.runtime import parallel

THREADS = 3
WAIT_S = 300


@pytest.fixture
def threads() -> Iterator[None]:
    """A torch with several threads, as on a machine with several cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_jobs_run_side_by_side_with_one_torch_thread_each_and_keep_their_order() -> None:
    together = threading.Barrier(THREADS)  # no job ends before all have begun

    def work(job: int) -> tuple[int, int]:
        together.wait(WAIT_S)
        return job, torch.get_num_threads()

    with parallel.use_threads_for_jobs():
        assert torch.get_num_threads() == 1
        assert parallel.run_in_threads(work, range(THREADS)) == [(job, 1) for job in range(THREADS)]
    assert torch.get_num_threads() == THREADS


@pytest.mark.usefixtures("threads")
def test_an_error_of_a_job_is_raised_and_threads_are_as_before() -> None:
    with pytest.raises(ZeroDivisionError), parallel.use_threads_for_jobs():
        parallel.run_in_threads(lambda job: 1 // job, [1, 0, 2])
    assert torch.get_num_threads() == THREADS


@pytest.mark.usefixtures("threads")
def test_outside_of_the_block_jobs_run_one_after_the_other_in_this_thread() -> None:
    found = parallel.run_in_threads(lambda _: (threading.get_ident(), torch.get_num_threads()), range(3))
    assert set(found) == {(threading.get_ident(), 1)}


def test_an_iterator_that_runs_out_within_a_job_is_an_error_and_ends_no_results_in_silence() -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(parallel.run_in_parallel(lambda _: next(iter(())), [1], "jobs"))
