"""The nightly run for Prefect: `prefect deploy flows/nightly.py:nightly`, see docs/nightly-runs.md."""

from siamese_med.flows.flows import nightly

__all__ = ["nightly"]
