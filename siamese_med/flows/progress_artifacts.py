"""Long work as progress artifacts, so that a run's page shows how far it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from siamese_med.runtime import progress

FIRST_ARTIFACT_AFTER_S = 2.0
"""What is done before is not worth an artifact."""
ARTIFACT_UPDATE_INTERVAL_S = 5.0


@dataclass
class ProgressArtifactState:
    """One piece of long work on a run's page."""

    since: float
    artifact: UUID | None = None
    updated: float = 0.0


@contextmanager
def show_progress_on_page() -> Iterator[None]:
    """Show on the run's page how far the work inside the block is."""
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
