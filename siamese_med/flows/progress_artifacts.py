"""Show the progress of long work as artifacts on the page of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from siamese_med.runtime import progress

FIRST_ARTIFACT_AFTER_S = 2.0
"""Seconds that work must take before it gets an artifact."""
ARTIFACT_UPDATE_INTERVAL_S = 5.0
"""Seconds between two updates of an artifact."""


@dataclass
class ProgressArtifactState:
    """State of one progress artifact; times are those of `time.monotonic`, in seconds."""

    since: float
    artifact: UUID | None = None
    updated: float = 0.0


@contextmanager
def show_progress_on_page() -> Iterator[None]:
    """Show the progress of the work inside the block on the page of the current run, in percent."""
    known: dict[str, ProgressArtifactState] = {}

    def tell(verb: str, done: int, total: int) -> None:
        now = time.monotonic()
        shown = known.setdefault(verb, ProgressArtifactState(now))
        share, last = 100.0 * done / total, done >= total
        if shown.artifact is None and now - shown.since >= FIRST_ARTIFACT_AFTER_S:
            key = verb.replace(" ", "-")
            made = create_progress_artifact(share, key=key, description=f"{verb}: {total} in all")
            shown.artifact, shown.updated = made if isinstance(made, UUID) else None, now
        elif shown.artifact is not None and (last or now - shown.updated >= ARTIFACT_UPDATE_INTERVAL_S):
            update_progress_artifact(shown.artifact, share)
            shown.updated = now

    with progress.report_progress_to(tell):
        yield
