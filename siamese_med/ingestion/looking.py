"""Looking at files in worker processes, many at once; a file that ends its process is found and costs itself alone.

No file of the input is opened in the run's own process: one that blocks could not be given up there.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from siamese_med import progress
from siamese_med.ingestion import content
from siamese_med.ingestion.content import Glance, Look
from siamese_med.ingestion.entries import Entry
from siamese_med.ingestion.reasons import PASSING
from siamese_med.ingestion.run import Run
from siamese_med.ingestion.workers import WorkerHungError, WorkerLostError

FILES_AT_ONCE = 32
NOT_READ = {*PASSING, "special_file"}
MOST_HUNG_CHUNKS = 8
MOST_HUNG_IN_A_FOLDER = 3
MOST_HUNG_ON_A_DISK = 12
"""How many in a row may hang before the rest is not tried: waiting out the limit for every file would take days."""


def look(run: Run, entries: Sequence[Entry]) -> None:
    """Give each entry its look; files of a lost process are looked at again one by one.

    Where a folder or a disk hangs, what was not tried is `timed_out` as well; the next run tries it.
    """
    with progress.shown("looking", len(entries), "files") as advance:
        lost = _look_together(run, entries, advance)
        crashed = _look_alone(run, lost, advance)
        for index, one in run.workers.each(content.hash_alone, (str(entry.found.path) for entry in crashed)):
            crashed[index].look = _given_up(run, crashed[index], one) if isinstance(one, WorkerLostError) else one
            advance(1)


def _look_together(run: Run, entries: Sequence[Entry], advance: Callable[[int], None]) -> list[Entry]:
    """Look at many files at once; returns those of lost processes, and all that is left once several hung in a row."""
    chunks = [entries[start : start + FILES_AT_ONCE] for start in range(0, len(entries), FILES_AT_ONCE)]
    left: list[Entry] = []
    asked = hung = 0

    def requests() -> Iterator[Glance]:
        nonlocal asked
        while asked < len(chunks) and hung < MOST_HUNG_CHUNKS:
            asked += 1
            yield _glance(run, chunks[asked - 1])

    for index, looks in run.workers.each(content.look_at, requests()):
        hung = hung + 1 if isinstance(looks, WorkerHungError) else 0
        if isinstance(looks, WorkerLostError):
            left += chunks[index]
            continue
        for entry, one in zip(chunks[index], looks, strict=True):
            entry.look = _as_named(entry, one)
        advance(len(chunks[index]))
    return [*left, *chain.from_iterable(chunks[asked:])]


def _look_alone(run: Run, entries: Sequence[Entry], advance: Callable[[int], None]) -> list[Entry]:
    """Look at one file at a time; returns those whose process crashed.

    In an order of chance: files that block often lie together, and must not keep the same others from a try every time.
    """
    waiting = random.sample(entries, len(entries))
    tried: list[Entry] = []
    crashed: list[Entry] = []
    hung: Counter[Path | int] = Counter()

    def requests() -> Iterator[Glance]:
        for entry in waiting:
            if hung[entry.found.path.parent] >= MOST_HUNG_IN_A_FOLDER or hung[entry.device] >= MOST_HUNG_ON_A_DISK:
                entry.look = content.unread("timed_out")
                advance(1)
            else:
                tried.append(entry)
                yield _glance(run, [entry])

    for index, looks in run.workers.each(content.look_at, requests()):
        entry = tried[index]
        for place in (entry.found.path.parent, entry.device):
            hung[place] = hung[place] + 1 if isinstance(looks, WorkerHungError) else 0
        if isinstance(looks, WorkerLostError) and not looks.reason:
            crashed.append(entry)
            continue
        entry.look = _given_up(run, entry, looks) if isinstance(looks, WorkerLostError) else _as_named(entry, looks[0])
        advance(1)
    return crashed


def _given_up(run: Run, entry: Entry, lost: WorkerLostError) -> Look:
    """A file that takes too long to read because of its size is none that hangs."""
    too_large = lost.reason == "timed_out" and entry.stat[0] > run.config.max_gigabytes * 1e9
    return content.unread("too_large" if too_large else lost.reason or "read_error")


def _glance(run: Run, entries: Sequence[Entry]) -> Glance:
    return Glance(tuple(str(entry.found.path) for entry in entries), run.config.max_gigabytes)


def _as_named(entry: Entry, look: Look) -> Look:
    """A side-car is no broken image, and a mask or derivative no scan, although its content might do.

    Where a text beside an image cannot be read, what it says of the image is not known, so neither is the image.
    """
    word = entry.found.reason
    applies = look.voxels if word != "side_car" else not (look.voxels or look.packed or look.reason in NOT_READ)
    if word and applies:
        return look.refused(word)
    claimed = look.voxels or (look.packed and entry.found.listed)
    return content.unread(entry.found.trouble) if claimed and entry.found.claim and entry.found.trouble else look
