"""The network with its two heads: who is it, and what changed?

Both start from the trunk, which is the same for both scans of a pair. Identity adds what the trunk sees to where a scan
departs from the atlas; change compares what the trunk sees in two scans, place by place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from siamese_med.network import backbone, encoder, losses
from siamese_med.network.atlas import Atlas, MeanSubtraction
from siamese_med.network.backbone import SharedBackbone
from siamese_med.network.change_head import ChangeHead, ChangeNetwork
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.study.config import TrainConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

EMBEDDING_BATCH_SCANS = 8
"""Scans embedded together, always so many: with fewer the same scan's embedding differs by its last digits."""


class SiameseNetwork(nn.Module):
    """One atlas and one trunk for both scans of a pair; a head for identity with its recipe, and one for change.

    What identity reads off the trunk starts as nothing, so training cannot start below the encoder alone. On grids too
    thin for change, such as single slices, convolutions of its own are in the trunk's place.
    """

    def __init__(self, config: TrainConfig, atlas: Atlas | MeanSubtraction) -> None:
        super().__init__()
        self.atlas = atlas
        self.trunk = SharedBackbone(config.width)
        self.encoder = encoder.build_encoder(config, atlas.channels, atlas.grid)
        self.detail = _detail_projection(self.trunk, config, atlas)
        self.change = ChangeHead(self.trunk)
        self.recipe = losses.build_loss(config)

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """Embeddings (b, e) of volumes (b, 1, i, j, k) that are cut to the atlas's box."""
        with torch.no_grad():
            view, departures = self.atlas(volumes)
        departures = departures.contiguous(memory_format=torch.channels_last_3d)
        embeddings: torch.Tensor = self.encoder(departures) + self.detail(self._seen(view, departures))
        return embeddings

    def _seen(self, view: torch.Tensor, departures: torch.Tensor) -> torch.Tensor:
        if isinstance(self.atlas, MeanSubtraction):
            return departures
        seen: torch.Tensor = self.trunk(backbone.pad_to_stride(view).contiguous(memory_format=torch.channels_last_3d))[
            -1
        ]
        return seen.flatten(1)

    @property
    def watcher(self) -> ChangeNetwork:
        """The part that sees change; it shares its weights with this."""
        return ChangeNetwork(self.trunk, self.change)

    def cut(self, volumes: torch.Tensor) -> torch.Tensor:
        """The part of volumes (..., i, j, k) on the study's grid that the atlas looks at."""
        (left, right), (back, front), (low, high) = self.atlas.box
        return volumes[..., left:right, back:front, low:high]


def _detail_projection(seen: SharedBackbone, config: TrainConfig, atlas: Atlas | MeanSubtraction) -> nn.Module:
    """From what the trunk sees to embeddings; starts as nothing."""
    if isinstance(atlas, MeanSubtraction):
        return encoder.build_thin_grid_encoder(config.width, config.embedding, atlas.channels, atlas.grid)
    detail = nn.Linear(seen.channels[-1] * backbone.count_coarsest_features(atlas.size), config.embedding)
    nn.init.zeros_(detail.weight)
    nn.init.zeros_(detail.bias)
    return detail


def extract_network_view(network: SiameseNetwork, volume: NDArray[np.generic]) -> NDArray[np.float32]:
    """What the network is shown of a volume (i, j, k), on the same grid; zero elsewhere."""
    canvas = torch.zeros(volume.shape)
    voxels = torch.from_numpy(np.asarray(volume, dtype=np.float32))
    with torch.inference_mode():
        network.cut(canvas).copy_(network.atlas.view(network.cut(voxels)[None, None])[0, 0])
    return canvas.round(decimals=4).numpy()  # block means are zero but for rounding, and rounding is no anatomy


def embed_scans(network: SiameseNetwork, cohort: ScanDataset) -> torch.Tensor:
    """Embeddings (n, e) of all scans, in order, without gradients."""
    network.eval()
    device = next(network.parameters()).device
    parts = []
    with torch.inference_mode():
        for start in range(0, len(cohort.volumes), EMBEDDING_BATCH_SCANS):
            scans = range(start, min(start + EMBEDDING_BATCH_SCANS, len(cohort.volumes)))
            volumes = torch.stack([cohort.load(scan, network.atlas.box) for scan in scans])
            filling = volumes[-1:].expand(EMBEDDING_BATCH_SCANS - len(scans), -1, -1, -1, -1)
            parts.append(network(torch.cat([volumes, filling]).to(device))[: len(scans)].float().cpu())
    return torch.cat(parts)


def measure_distances(network: SiameseNetwork, a: torch.Tensor, b: torch.Tensor) -> NDArray[np.float64]:
    """Distance of embeddings (n, e) and (n, e), row by row."""
    with torch.inference_mode():
        return network.recipe.distance(a, b).double().numpy()


def compute_distance_matrix(network: SiameseNetwork, embeddings: torch.Tensor) -> NDArray[np.float64]:
    """Distances of all pairs of embeddings (n, e): symmetric (n, n), zero on the diagonal."""
    with torch.inference_mode():
        apart = network.recipe.distances(embeddings, embeddings)
        return ((apart + apart.T) / 2).fill_diagonal_(0).double().numpy()


def project_embeddings(network: SiameseNetwork, embeddings: torch.Tensor) -> NDArray[np.float64]:
    """Embeddings (n, e) as the distance sees them."""
    with torch.inference_mode():
        return network.recipe.unit(embeddings).double().numpy()


def stack_embeddings(vectors: Mapping[str, torch.Tensor], scans: Iterable[str]) -> torch.Tensor:
    """The embeddings (n, e) of scans given by id."""
    return torch.stack([vectors[scan] for scan in scans])
