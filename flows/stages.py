"""The six stages for Prefect, one flow each: `prefect deploy flows/stages.py:ingest`, see docs/nightly-runs.md."""

from siamese_med.flows.flows import ingest, pair, prepare, report, score, train

__all__ = ["ingest", "pair", "prepare", "report", "score", "train"]
