"""Cache of embeddings: each scan passes through the network once, and its embedding is kept beside the scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import SiameseNetwork, embed_scans, split_embeddings
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

    known = _read_cache(cache)
    fresh = [place for place, digest in enumerate(contents) if digest not in known]
    if fresh:
        found = embed_scans(network, ScanDataset([volumes[place] for place in fresh], ["" for _ in fresh]))
        learned, edges = (part.numpy() for part in split_embeddings(found))
        known |= {
            contents[place]: (one.tobytes(), other.astype(np.float16).tobytes())
            for place, one, other in zip(fresh, learned, edges, strict=True)
        }
        rows = [(digest, *parts) for digest, parts in sorted(known.items())]
        files.write_parquet_file(cache, pd.DataFrame(rows, columns=["content", "learned", "edges"]))
    return torch.stack([_read_embedding(*known[digest]) for digest in contents])


def _read_cache(cache: Path) -> dict[str, tuple[bytes, bytes]]:
    """The parts of each embedding by the digest of its volume; none where the file is missing or damaged."""
    import pandas as pd

    try:
        stored = pd.read_parquet(cache)
        return dict(zip(stored.content, zip(stored.learned, stored.edges, strict=True), strict=True))
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def _read_embedding(learned: bytes, edges: bytes) -> torch.Tensor:
    """The embedding (e,) from its learned part, float32, and its edges, which `SiameseNetwork.embed` rounds."""
    parts = np.frombuffer(learned, np.float32), np.frombuffer(edges, np.float16).astype(np.float32)
    return torch.from_numpy(np.concatenate(parts))
