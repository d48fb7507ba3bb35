"""Encoder and recipe in one module, and the embeddings and distances it gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from siamese_med.config import TrainConfig
from siamese_med.network import encoder, recipes
from siamese_med.network.cohort import Cohort

if TYPE_CHECKING:
    from numpy.typing import NDArray

EMBEDDING_BATCH = 16
FINE_VOXELS = 4
"""Blocks of this edge are what the encoder does not look at."""


class Siamese(nn.Module):
    """One encoder for both scans of a pair, and the recipe that tells how far apart they are."""

    def __init__(self, config: TrainConfig, shape: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder.build(config, shape)
        self.recipe = recipes.build(config)

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """Embeddings (b, e) of volumes (b, 1, i, j, k)."""
        embeddings: torch.Tensor = self.encoder(_detail(volumes).contiguous(memory_format=torch.channels_last_3d))
        return embeddings


def _detail(volumes: torch.Tensor) -> torch.Tensor:
    """What is finer than a few voxels, in units of its own spread: bias and contrast, the scanner's, are gone."""
    if min(volumes.shape[2:]) <= FINE_VOXELS:
        return volumes - volumes.mean((2, 3, 4), keepdim=True)
    blocks = nn.functional.avg_pool3d(volumes, FINE_VOXELS, ceil_mode=True)
    coarse = nn.functional.interpolate(blocks, size=volumes.shape[2:], mode="trilinear", align_corners=False)
    detail = (volumes - coarse) * (volumes > 0)
    return detail / (detail.square().mean((2, 3, 4), keepdim=True).sqrt() + 1e-3)


def embed(network: Siamese, cohort: Cohort) -> torch.Tensor:
    """Embeddings (n, e) of all scans, in order, without gradients."""
    network.eval()
    device = next(network.parameters()).device
    parts = []
    with torch.inference_mode():
        for start in range(0, len(cohort.volumes), EMBEDDING_BATCH):
            scans = range(start, min(start + EMBEDDING_BATCH, len(cohort.volumes)))
            parts.append(network(torch.stack([cohort.load(scan) for scan in scans]).to(device)).float().cpu())
    return torch.cat(parts)


def distances(network: Siamese, a: torch.Tensor, b: torch.Tensor) -> NDArray[np.float64]:
    """Distance of embeddings (n, e) and (n, e), row by row."""
    with torch.inference_mode():
        return network.recipe.distance(a, b).double().numpy()


def distance_matrix(network: Siamese, embeddings: torch.Tensor) -> NDArray[np.float64]:
    """Distances of all pairs of embeddings (n, e): symmetric (n, n), zero on the diagonal."""
    rows = [distances(network, row.expand_as(embeddings), embeddings) for row in embeddings]
    return np.stack(rows)


def stacked(vectors: Mapping[str, torch.Tensor], scans: Iterable[str]) -> torch.Tensor:
    """The embeddings (n, e) of scans given by id."""
    return torch.stack([vectors[scan] for scan in scans])
