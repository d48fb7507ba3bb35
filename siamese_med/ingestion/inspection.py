"""Inspecting files in worker processes, many at once; a file that crashes its process costs only itself.

No file of the input is opened in the run's own process: a file that blocks could not be given up there.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from siamese_med.ingestion.inputs import file_content
from siamese_med.ingestion.inputs.entries import InputEntry
from siamese_med.ingestion.inputs.file_content import InspectedFile, InspectionRequest
from siamese_med.ingestion.reasons import MACHINE_REASONS
from siamese_med.ingestion.run_state import IngestRun
from siamese_med.ingestion.workers import WorkerHungError, WorkerLostError
from siamese_med.runtime import progress

FILES_PER_REQUEST = 32
"""Files that a worker inspects in one task."""

UNREAD_REASONS = {*MACHINE_REASONS, "special_file"}
"""Reasons of files whose content is not known."""

MAX_HUNG_REQUESTS = 8
"""Requests in a row that may hang before the files are inspected one by one."""

MAX_HUNG_PER_FOLDER = 3
"""Files of one folder in a row that may hang before the rest of it is not tried."""

MAX_HUNG_PER_DISK = 12
"""Files of one disk in a row that may hang before the rest of it is not tried; each one costs the full time limit."""


def inspect_entries(run: IngestRun, entries: Sequence[InputEntry]) -> None:
    """Inspect each entry's file and set its `look`.

    Files of a crashed or hanging process are inspected again one by one. Where a folder or disk hangs, the files that
    were not tried get `timed_out` as well; the next run tries them.
    """
    with progress.show_progress("looking", len(entries), "files") as advance:
        lost = _inspect_together(run, entries, advance)
        crashed = _inspect_one_by_one(run, lost, advance)
        paths = (str(entry.found.path) for entry in crashed)
        for index, one in run.workers.each(file_content.hash_crashed_file, paths, label="hash alone"):
            crashed[index].look = _given_up(run, crashed[index], one) if isinstance(one, WorkerLostError) else one
            advance(1)


def _inspect_together(
    run: IngestRun, entries: Sequence[InputEntry], advance: Callable[[int], None]
) -> list[InputEntry]:
    """Inspect many files at once; return those of lost processes, and all that is left once several hung in a row."""
    chunks = [entries[start : start + FILES_PER_REQUEST] for start in range(0, len(entries), FILES_PER_REQUEST)]
    left: list[InputEntry] = []
    asked = hung = 0

    def requests() -> Iterator[InspectionRequest]:
        nonlocal asked
        while asked < len(chunks) and hung < MAX_HUNG_REQUESTS:
            asked += 1
            yield _make_request(run, chunks[asked - 1])

    for index, looks in run.workers.each(file_content.inspect_files, requests(), label="look at"):
        hung = hung + 1 if isinstance(looks, WorkerHungError) else 0
        if isinstance(looks, WorkerLostError):
            left += chunks[index]
            continue
        for entry, one in zip(chunks[index], looks, strict=True):
            entry.look = _as_named(entry, one)
        advance(len(chunks[index]))
    return [*left, *chain.from_iterable(chunks[asked:])]


def _inspect_one_by_one(
    run: IngestRun, entries: Sequence[InputEntry], advance: Callable[[int], None]
) -> list[InputEntry]:
    """Inspect one file at a time; return those whose process crashed.

    In random order: files that block often lie together, and must not keep the same others from being tried in every
    run.
    """
    waiting = random.sample(entries, len(entries))
    tried: list[InputEntry] = []
    crashed: list[InputEntry] = []
    hung: Counter[Path | int] = Counter()

    def requests() -> Iterator[InspectionRequest]:
        for entry in waiting:
            if hung[entry.found.path.parent] >= MAX_HUNG_PER_FOLDER or hung[entry.device] >= MAX_HUNG_PER_DISK:
                entry.look = file_content.make_unread_file("timed_out")
                advance(1)
            else:
                tried.append(entry)
                yield _make_request(run, [entry])

    for index, looks in run.workers.each(file_content.inspect_files, requests(), label="look at"):
        entry = tried[index]
        for place in (entry.found.path.parent, entry.device):
            hung[place] = hung[place] + 1 if isinstance(looks, WorkerHungError) else 0
        if isinstance(looks, WorkerLostError) and not looks.reason:
            crashed.append(entry)
            continue
        entry.look = _given_up(run, entry, looks) if isinstance(looks, WorkerLostError) else _as_named(entry, looks[0])
        advance(1)
    return crashed


def _given_up(run: IngestRun, entry: InputEntry, lost: WorkerLostError) -> InspectedFile:
    """Make the result of a lost file; one that is over the size limit is too large rather than hanging."""
    too_large = lost.reason == "timed_out" and entry.stat[0] > run.config.max_gigabytes * 1e9
    return file_content.make_unread_file("too_large" if too_large else lost.reason or "read_error")


def _make_request(run: IngestRun, entries: Sequence[InputEntry]) -> InspectionRequest:
    return InspectionRequest(tuple(str(entry.found.path) for entry in entries), run.config.max_gigabytes)


def _as_named(entry: InputEntry, look: InspectedFile) -> InspectedFile:
    """Apply the reason that a file's name gives: a side-car is no broken image, a mask or derivative is no scan.

    Where the text beside an image cannot be read, what it says of the image is unknown, so the image waits too.
    """
    word = entry.found.reason
    applies = look.voxels if word != "side_car" else not (look.voxels or look.packed or look.reason in UNREAD_REASONS)
    if word and applies:
        return look.refused(word)
    claimed = look.voxels or (look.packed and entry.found.listed)
    return (
        file_content.make_unread_file(entry.found.trouble)
        if claimed and entry.found.claim and entry.found.trouble
        else look
    )
