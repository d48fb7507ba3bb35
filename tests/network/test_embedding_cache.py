"""Embeddings that were kept are used only if they are as they were written; all others are made again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from siamese_med.network import embedding_cache

CONTENTS = [f"{number:064d}" for number in range(40)]
LEARNED, EDGES = 16, 200


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many volumes passed through the network at each call; their embeddings are drawn at random, but the same."""
    counts: list[int] = []

    def embed(_network: object, volumes: list[Path]) -> torch.Tensor:
        counts.append(len(volumes))
        rows = [np.random.default_rng(int(one.name)).random(LEARNED + EDGES) for one in volumes]
        return torch.from_numpy(np.float32(np.float16(rows)))

    monkeypatch.setattr(embedding_cache, "embed_scans", embed)
    monkeypatch.setattr(embedding_cache, "ScanDataset", lambda volumes, _: volumes)
    monkeypatch.setattr(embedding_cache, "split_embeddings", lambda found: (found[:, :LEARNED], found[:, LEARNED:]))
    return counts


def embed(cache: Path) -> torch.Tensor:
    return embedding_cache.embed_with_cache(None, [Path(one) for one in CONTENTS], CONTENTS, cache)  # type: ignore[arg-type]


def change_bytes(place: Callable[[int], int]) -> Callable[[Path], None]:
    def change(cache: Path) -> None:
        content = bytearray(cache.read_bytes())
        start = place(len(content))
        content[start : start + 16] = bytes(byte ^ 0x5A for byte in content[start : start + 16])
        cache.write_bytes(content)

    return change


def drop_digests(cache: Path) -> None:
    pd.read_parquet(cache).drop(columns="sha256").to_parquet(cache)


DAMAGES = [
    pytest.param(lambda cache: cache.write_bytes(b"damaged"), len(CONTENTS), id="no parquet"),
    pytest.param(lambda cache: cache.write_bytes(cache.read_bytes()[:-9]), len(CONTENTS), id="cut"),
    pytest.param(change_bytes(lambda size: size - 400), len(CONTENTS), id="footer"),
    pytest.param(change_bytes(lambda _: 9), len(CONTENTS), id="header of a page: pyarrow raises OSError"),
    pytest.param(change_bytes(lambda size: size // 2), 1, id="one embedding"),
    pytest.param(drop_digests, len(CONTENTS), id="former version"),
]


@pytest.mark.parametrize(("damage", "again"), DAMAGES)
def test_only_embeddings_that_are_as_they_were_written_are_used(
    damage: Callable[[Path], None], again: int, tmp_path: Path, embedded: list[int]
) -> None:
    cache = tmp_path / "embeddings.parquet"
    first = embed(cache)
    damage(cache)
    assert torch.equal(embed(cache), first)
    assert torch.equal(embed(cache), first)
    assert embedded == [len(CONTENTS), again]
