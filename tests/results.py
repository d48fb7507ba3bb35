"""What a study holds, file by file, so that two ways to the same results can be compared."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pandas as pd

from siamese_med.ingestion.catalogue import catalogue, tables

CLOCKS = (
    "run.json",
    "current_model.json",
    "metrics.json",
    "training_log.csv",
    "training.png",
    "README.md",
    "model.html",
)
"""Files that say how long something took, or when."""
TOLD_TO_PREFECT = "announced.json"
"""The events that a recorded run has sent; the shared study (tests/studies.py) is made without Prefect."""
OF_THE_PLACE = {"changed_ns", "inode", "input", "key"}
"""Columns of the catalogue about where a file lies."""


def of_files(folder: Path) -> dict[str, str]:
    """Digest of every file but those that hold times or what Prefect was told; a Parquet file by its values."""
    left_out = (*CLOCKS, TOLD_TO_PREFECT)
    return {
        str(path.relative_to(folder)): _digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in left_out
        and "sqlite" not in path.name
        and not path.name.endswith(".lock")
    }


def of_catalogue(url: str) -> dict[str, list[str]]:
    """All rows of all tables, in an order of their own, without what differs between two copies of an input."""
    found = {}
    for name in tables.get_catalogue_tables():
        plain = [
            {k: str(v) for k, v in row.items() if k not in OF_THE_PLACE}
            for row in catalogue.read_catalogue_rows(url, name)
        ]
        found[name] = sorted(json.dumps(row, sort_keys=True) for row in plain)
    return found


def _digest(path: Path) -> str:
    if path.suffix == ".parquet":
        table = pd.read_parquet(path).map(lambda value: value.hex() if isinstance(value, bytes) else value)
        return hashlib.sha256(table.to_json().encode()).hexdigest()
    if path.suffix == ".gz":  # igzip may choose another of two matches that are as long
        return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()
