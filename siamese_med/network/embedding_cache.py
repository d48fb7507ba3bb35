"""Cache of embeddings: each scan passes through the network once, and its embedding is kept beside the scores."""

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
    """Embed aligned volumes; only volumes that are new or have changed pass through the network.

    Parameters
    ----------
    network
        Network that made, or will make, all embeddings of this cache.
    volumes
        Paths of the aligned volumes.
    contents
        Content digest of each volume, see `study.prepared_scans`; it is the key of the cache.
    cache
        Parquet file for one set of weights; rewritten when embeddings are added.

    Returns
    -------
    Tensor
        Embeddings (n, e), float32, in the order of `volumes`.
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
