"""Looking at files in worker processes, many at once; a file that ends its process is found and costs itself alone."""

from __future__ import annotations

from collections.abc import Sequence

from siamese_med import progress
from siamese_med.ingestion import content
from siamese_med.ingestion.content import Glance, Look
from siamese_med.ingestion.entries import Entry
from siamese_med.ingestion.run import Run
from siamese_med.ingestion.workers import WorkerLostError

FILES_AT_ONCE = 32


def look(run: Run, entries: Sequence[Entry]) -> None:
    """Give each entry its look; files of a lost process are looked at again one by one."""
    chunks = [entries[start : start + FILES_AT_ONCE] for start in range(0, len(entries), FILES_AT_ONCE)]
    lost: list[Entry] = []
    with progress.shown("looking", len(entries), "files") as advance:
        for index, looks in run.workers.each(content.look_at, (_glance(run, chunk) for chunk in chunks)):
            if isinstance(looks, WorkerLostError):
                lost += chunks[index]
                continue
            advance(len(looks))
            for entry, one in zip(chunks[index], looks, strict=True):
                entry.look = _as_named(entry, one)
        for index, looks in run.workers.each(content.look_at, (_glance(run, [entry]) for entry in lost)):
            entry, gone = lost[index], isinstance(looks, WorkerLostError)
            entry.look = content.hopeless(entry.found.path) if gone else _as_named(entry, looks[0])
            advance(1)


def _glance(run: Run, entries: Sequence[Entry]) -> Glance:
    return Glance(tuple(str(entry.found.path) for entry in entries), run.config.max_gigabytes)


def _as_named(entry: Entry, look: Look) -> Look:
    """A side-car is no broken image, and a mask or derivative no scan, although its content might do."""
    word = entry.found.reason
    applies = (
        look.voxels if word != "side_car" else not (look.voxels or look.packed or look.reason == "unreadable_file")
    )
    return look.refused(word) if word and applies else look
