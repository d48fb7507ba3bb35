"""Looking at files in worker processes, many at once; a file that ends its process is found and costs itself alone.

No file of the input is opened in the run's own process: one that blocks could not be given up there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from siamese_med import progress
from siamese_med.ingestion import content
from siamese_med.ingestion.content import Glance, Look
from siamese_med.ingestion.entries import Entry
from siamese_med.ingestion.reasons import PASSING
from siamese_med.ingestion.run import Run
from siamese_med.ingestion.workers import WorkerHungError, WorkerLostError

FILES_AT_ONCE = 32
NOT_READ = {*PASSING, "special_file"}
HUNG_IN_A_ROW = 8
"""Requests after which a disk or share is taken to hang: waiting out the limit for each file would take days."""


def look(run: Run, entries: Sequence[Entry]) -> None:
    """Give each entry its look; files of a lost process are looked at again one by one.

    Where the input hangs, what was not tried is `timed_out` as well; the next run tries it.
    """
    chunks = [entries[start : start + FILES_AT_ONCE] for start in range(0, len(entries), FILES_AT_ONCE)]
    with progress.shown("looking", len(entries), "files") as advance:
        lost = _look_at_some(run, chunks, advance)
        # By an order of chance: files that block lie together, and must not keep the others behind them from a try.
        singles = [[entry] for entry in sorted(lost, key=lambda entry: entry.key)]
        crashed = _look_at_some(run, singles, advance, alone=True)
        for index, one in run.workers.each(content.hash_alone, (str(entry.found.path) for entry in crashed)):
            crashed[index].look = _given_up(run, crashed[index], one) if isinstance(one, WorkerLostError) else one
            advance(1)


def _look_at_some(
    run: Run, chunks: Sequence[Sequence[Entry]], advance: Callable[[int], None], alone: bool = False
) -> list[Entry]:
    """Look at chunk by chunk; returns the entries of lost processes. `alone`: a trouble is the file's own."""
    left: list[Entry] = []
    patience = _Patience()
    requests = patience.limit(_glance(run, chunk) for chunk in chunks)
    for index, looks in run.workers.each(content.look_at, requests):
        patience.note(looks)
        if not isinstance(looks, WorkerLostError):
            for entry, one in zip(chunks[index], looks, strict=True):
                entry.look = _as_named(entry, one)
        elif alone and looks.reason:
            chunks[index][0].look = _given_up(run, chunks[index][0], looks)
        else:
            left += chunks[index]
            continue
        advance(len(chunks[index]))
    for chunk in chunks[patience.asked :]:
        left += [] if alone else chunk
        for entry in chunk if alone else ():
            entry.look = content.unread("timed_out")
    return left


@dataclass
class _Patience:
    """Stops asking once a number of requests in a row hung; `asked` counts those that were made."""

    asked: int = 0
    hung: int = 0

    def limit(self, requests: Iterable[Glance]) -> Iterator[Glance]:
        """The requests, as long as there is hope."""
        for request in requests:
            if self.hung >= HUNG_IN_A_ROW:
                return
            self.asked += 1
            yield request

    def note(self, result: object) -> None:
        """Note what came of a request."""
        self.hung = self.hung + 1 if isinstance(result, WorkerHungError) else 0


def _given_up(run: Run, entry: Entry, lost: WorkerLostError) -> Look:
    """A file that takes too long to read because of its size is none that hangs."""
    too_large = lost.reason == "timed_out" and entry.stat[0] > run.config.max_gigabytes * 1e9
    return content.unread("too_large" if too_large else lost.reason or "read_error")


def _glance(run: Run, entries: Sequence[Entry]) -> Glance:
    return Glance(tuple(str(entry.found.path) for entry in entries), run.config.max_gigabytes)


def _as_named(entry: Entry, look: Look) -> Look:
    """A side-car is no broken image, and a mask or derivative no scan, although its content might do."""
    word = entry.found.reason
    applies = look.voxels if word != "side_car" else not (look.voxels or look.packed or look.reason in NOT_READ)
    return look.refused(word) if word and applies else look
