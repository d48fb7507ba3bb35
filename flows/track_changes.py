"""The whole line for Prefect: `prefect deploy flows/track_changes.py:track_changes`, see docs/nightly-runs.md."""

from siamese_med.flows.flows import track_changes

__all__ = ["track_changes"]
