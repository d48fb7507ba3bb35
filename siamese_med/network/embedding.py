"""Every scan is embedded once; what was embedded before is read from a table beside the scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from siamese_med import files
from siamese_med.network.cohort import Cohort
from siamese_med.network.siamese import Siamese, embed

if TYPE_CHECKING:
    import pandas as pd


def embeddings(network: Siamese, scans: pd.DataFrame, volumes: Sequence[Path], cache: Path) -> torch.Tensor:
    """Embeddings (n, e) of the scans of a table, in its order; only new or changed scans go through the network."""
    import pandas as pd

    known: dict[str, list[float]] = {}
    if cache.is_file():
        stored = pd.read_parquet(cache)
        known = dict(zip(stored.sha256, stored.embedding, strict=True))
    fresh = [place for place, digest in enumerate(scans.sha256) if digest not in known]
    if fresh:
        found = embed(network, Cohort([volumes[place] for place in fresh], ["" for _ in fresh]))
        known |= {scans.sha256.iloc[place]: vector.tolist() for place, vector in zip(fresh, found, strict=True)}
        table = pd.DataFrame(sorted(known.items()), columns=["sha256", "embedding"])
        files.write_parquet(cache, table)
    return torch.from_numpy(np.stack([np.asarray(known[digest], dtype=np.float32) for digest in scans.sha256]))
