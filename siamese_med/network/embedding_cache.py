"""Cache of embeddings: each scan passes through the network once, and its embedding is kept beside the scores."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import SiameseNetwork, embed_scans, split_embeddings
from siamese_med.runtime import files

COLUMNS = ("content", "learned", "edges", "sha256")
"""Of the cache: digest of the volume, the two parts of its embedding as bytes, and the digest of these three."""


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
        rows = [(content, *parts, digest_embedding(content, *parts)) for content, parts in sorted(known.items())]
        files.write_parquet_file(cache, pd.DataFrame(rows, columns=list(COLUMNS)))
    return torch.stack([_read_embedding(*known[digest]) for digest in contents])


def digest_embedding(content: str, learned: bytes, edges: bytes) -> str:
    """Compute the SHA-256 (hex) by which a row of the cache is known to be as it was written."""
    return hashlib.sha256(b"\0".join([content.encode(), learned, edges])).hexdigest()


def _read_cache(cache: Path) -> dict[str, tuple[bytes, bytes]]:
    """The parts of each embedding by the digest of its volume; none where the file is missing or damaged.

    Rows that are not as they were written are left out, and so are all rows of former versions, which had no digests.
    """
    import pandas as pd

    try:
        stored = pd.read_parquet(cache)
        rows = zip(*(stored[name] for name in COLUMNS), strict=True)
        return {row[0]: row[1:3] for row in rows if digest_embedding(*row[:3]) == row[3]}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):  # all of them come from damaged Parquet files
        return {}


def _read_embedding(learned: bytes, edges: bytes) -> torch.Tensor:
    """The embedding (e,) from its learned part, float32, and its edges, which `SiameseNetwork.embed` rounds."""
    parts = np.frombuffer(learned, np.float32), np.frombuffer(edges, np.float16).astype(np.float32)
    return torch.from_numpy(np.concatenate(parts))
