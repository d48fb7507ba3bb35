"""The weekly training for Prefect: `prefect deploy flows/retrain.py:retrain`, see docs/nightly-runs.md."""

from siamese_med.flows.flows import retrain

__all__ = ["retrain"]
