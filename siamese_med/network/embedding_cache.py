"""Every scan is embedded once; what was embedded before is read from a table beside the scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import SiameseNetwork, embed_scans
from siamese_med.runtime import files


def embed_with_cache(
    network: SiameseNetwork, volumes: Sequence[Path], contents: Sequence[str], cache: Path
) -> torch.Tensor:
    """Embeddings (n, e) of aligned volumes, in their order; only new or changed ones go through the network.

    `contents`: the digest of each, see study.prepared_scans. `cache`: the table of one set of weights.
    """
    import pandas as pd

    known: dict[str, list[float]] = {}
    if cache.is_file():
        stored = pd.read_parquet(cache)
        known = dict(zip(stored.content, stored.embedding, strict=True))
    fresh = [place for place, digest in enumerate(contents) if digest not in known]
    if fresh:
        found = embed_scans(network, ScanDataset([volumes[place] for place in fresh], ["" for _ in fresh]))
        known |= {contents[place]: vector.tolist() for place, vector in zip(fresh, found, strict=True)}
        table = pd.DataFrame(sorted(known.items()), columns=["content", "embedding"])
        files.write_parquet_file(cache, table)
    return torch.from_numpy(np.stack([np.asarray(known[digest], dtype=np.float32) for digest in contents]))
