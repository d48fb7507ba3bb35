"""The Siamese network with its two heads: is it the same person, and what changed?

Both heads start from one backbone that is applied with the same weights to both scans of a pair. The identity head
adds the backbone's features to the scan's departures from the atlas. The change head compares the backbone's features
of the two scans, voxel by voxel.

The embedding of a scan has two parts: what the identity head has learned, and a descriptor of the scan's edges that
needs no training (`edge_descriptor`). Their share in the distance of two scans is chosen on validation patients, so
that the distance is never worse than the better part alone (`training.similarity_fusion`).

All volumes lie on the grid of the study's template: axes (i, j, k), a 4x4 affine to RAS+ millimetres, and a normalised
intensity of 0 for air and 1 for the median bright tissue (see `imaging.intensity`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from siamese_med.network import backbone, encoder, losses
from siamese_med.network.atlas import Atlas, MeanSubtraction
from siamese_med.network.backbone import SharedBackbone
from siamese_med.network.change_head import ChangeHead, ChangeNetwork
from siamese_med.network.edge_descriptor import SKETCH_SIZE, EdgeDescriptor, multiply_edges
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.study.config import TrainConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

EMBEDDING_BATCH_SCANS = 8
"""Number of scans in every batch that is embedded; a smaller last batch is filled up.

The size is fixed because the last digits of an embedding depend on the size of its batch.
"""
MAX_EDGE_SCANS = 192
"""Largest number of training scans that the descriptor of edges is fitted to."""
PAIRS_PER_BLOCK = 1024
"""Pairs whose embeddings are held at once."""


class SiameseNetwork(nn.Module):
    """Siamese network of one atlas, one shared backbone, an identity head with its loss, and a change head.

    The weights of the backbone's contribution to the embedding start at zero, so training starts from the encoder
    alone.
    On grids that are too thin for change detection, such as single slices, a convolutional encoder of its own takes the
    place of that contribution.

    Parameters
    ----------
    config
        Sets the encoder, the loss, and the sizes of the backbone and the embedding.
    atlas
        Atlas of the training scans; its box decides which part of a volume the network sees.

    Attributes
    ----------
    edge_share
        Share of the edges in the squared distance, 0 to 1.
    learned_scale
        Distance of the learned parts of two patients, in units of that of their edges.
    """

    edge_share: torch.Tensor
    learned_scale: torch.Tensor

    def __init__(self, config: TrainConfig, atlas: Atlas | MeanSubtraction) -> None:
        super().__init__()
        self.atlas = atlas
        self.trunk = SharedBackbone(config.width)
        self.encoder = encoder.build_encoder(config, atlas.channels, atlas.grid)
        self.detail = _detail_projection(self.trunk, config, atlas)
        self.change = ChangeHead(self.trunk)
        self.recipe = losses.build_loss(config)
        self.edges = EdgeDescriptor(atlas.size)
        self.register_buffer("edge_share", torch.tensor(0.0))
        self.register_buffer("learned_scale", torch.tensor(1.0))

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        """Compute the learned part of the embedding of volumes that have been cropped to the atlas's box.

        Parameters
        ----------
        volumes
            Normalised intensities (b, 1, i, j, k) inside `atlas.box`, see `cut`.

        Returns
        -------
        Tensor
            Embeddings (b, e), not normalised; the loss defines their distance.
        """
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

    def embed(self, volumes: torch.Tensor) -> torch.Tensor:
        """Compute both parts of the embedding of volumes (b, 1, i, j, k) inside `atlas.box`: (b, e + SKETCH_SIZE)."""
        # rounded as they are stored, so that a scan has one descriptor, stored or not
        edges = self.edges(volumes, self.region).half().float()
        return torch.cat([self(volumes).float(), edges], 1)

    @property
    def region(self) -> torch.Tensor:
        """The region (1, 1, i, j, k) of `atlas.box` that is looked at, 0 or 1."""
        return torch.ones(1, 1, *self.atlas.size) if isinstance(self.atlas, MeanSubtraction) else self.atlas.core

    @property
    def watcher(self) -> ChangeNetwork:
        """The backbone and the change head as one module; it shares its weights with this network."""
        return ChangeNetwork(self.trunk, self.change)

    def cut(self, volumes: torch.Tensor) -> torch.Tensor:
        """Crop volumes (..., i, j, k) on the study's grid to the atlas's box; the result is a view, not a copy."""
        (left, right), (back, front), (low, high) = self.atlas.box
        return volumes[..., left:right, back:front, low:high]


def _detail_projection(seen: SharedBackbone, config: TrainConfig, atlas: Atlas | MeanSubtraction) -> nn.Module:
    """Projection from the backbone's features to embeddings; its weights start at zero."""
    if isinstance(atlas, MeanSubtraction):
        return encoder.build_thin_grid_encoder(config.width, config.embedding_size, atlas.channels, atlas.grid)
    detail = nn.Linear(seen.channels[-1] * backbone.count_coarsest_features(atlas.size), config.embedding_size)
    nn.init.zeros_(detail.weight)
    nn.init.zeros_(detail.bias)
    return detail


def fit_edge_descriptor(network: SiameseNetwork, cohort: ScanDataset) -> None:
    """Fit the descriptor of edges to training scans, all scans of a patient together."""
    box, region = network.atlas.box, network.region
    chosen = np.argsort(cohort.labels, kind="stable")[:MAX_EDGE_SCANS]
    products = torch.cat([multiply_edges(cohort.load(int(scan), box)[None], region) for scan in chosen])
    network.edges.fit(products, cohort.labels[chosen])


def extract_network_view(network: SiameseNetwork, volume: NDArray[np.generic]) -> NDArray[np.float32]:
    """Compute what the network sees of one volume, for display and for the shortcut audit.

    Parameters
    ----------
    network
        Network whose atlas defines the view.
    volume
        Normalised intensities (i, j, k) on the study's grid.

    Returns
    -------
    ndarray
        View (i, j, k) on the same grid, rounded to 4 decimals; zero outside the atlas's box.
    """
    canvas = torch.zeros(volume.shape)
    voxels = torch.from_numpy(np.asarray(volume, dtype=np.float32))
    with torch.inference_mode():
        network.cut(canvas).copy_(network.atlas.view(network.cut(voxels)[None, None])[0, 0])
    return canvas.round(decimals=4).numpy()  # block means are zero apart from rounding errors, which are no anatomy


def embed_scans(network: SiameseNetwork, cohort: ScanDataset) -> torch.Tensor:
    """Embed all scans of a dataset without gradients and switch the network to evaluation mode.

    Parameters
    ----------
    network
        Network on any device.
    cohort
        Scans on the study's grid.

    Returns
    -------
    Tensor
        Embeddings (n, e), float32 on the CPU, in the order of the scans.
    """
    network.eval()
    return torch.cat([embed_batch(network, volumes) for volumes in _load_batches(network, cohort)])


def embed_learned_parts(network: SiameseNetwork, cohort: ScanDataset) -> torch.Tensor:
    """Compute the learned part alone of all scans, as `embed_scans` does; a rank of several may call it in training."""
    network.eval()
    return torch.cat([_run_full_batch(network, network, volumes) for volumes in _load_batches(network, cohort)])


def _load_batches(network: SiameseNetwork, cohort: ScanDataset) -> Iterator[torch.Tensor]:
    for start in range(0, len(cohort.volumes), EMBEDDING_BATCH_SCANS):
        scans = range(start, min(start + EMBEDDING_BATCH_SCANS, len(cohort.volumes)))
        yield torch.stack([cohort.load(scan, network.atlas.box) for scan in scans])


def embed_batch(network: SiameseNetwork, volumes: torch.Tensor) -> torch.Tensor:
    """Embed at most EMBEDDING_BATCH_SCANS scans (n, 1, i, j, k), cut to the box of the atlas, without gradients.

    The batch is filled up to that size: sums are rounded otherwise in another one, and a scan has one embedding,
    whichever scans it is embedded with.
    """
    return _run_full_batch(network, network.embed, volumes)


def _run_full_batch(
    network: SiameseNetwork, embed: Callable[[torch.Tensor], torch.Tensor], volumes: torch.Tensor
) -> torch.Tensor:
    filling = volumes[-1:].expand(EMBEDDING_BATCH_SCANS - len(volumes), -1, -1, -1, -1)
    with torch.inference_mode():
        found = embed(torch.cat([volumes, filling]).to(next(network.parameters()).device))
    return found[: len(volumes)].float().cpu()


def split_embeddings(embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Split embeddings (n, e) into the learned part, as the loss takes it, and the descriptor of edges."""
    return embeddings[:, :-SKETCH_SIZE], embeddings[:, -SKETCH_SIZE:]


def measure_distances(network: SiameseNetwork, a: torch.Tensor, b: torch.Tensor) -> NDArray[np.float64]:
    """Measure the distance between embeddings row by row.

    Parameters
    ----------
    network
        Network whose loss defines the distance of the learned parts.
    a, b
        Embeddings (n, e).

    Returns
    -------
    ndarray
        Distances (n,); small for scans of one person, 0 for a scan with itself.
    """
    (learned_a, edges_a), (learned_b, edges_b) = split_embeddings(a), split_embeddings(b)
    with torch.inference_mode():
        learned = network.recipe.distance(learned_a, learned_b).double()
        return _fuse_distances(network, learned, (edges_a - edges_b).double().square().sum(1).sqrt()).numpy()


def compute_distance_matrix(network: SiameseNetwork, embeddings: torch.Tensor) -> NDArray[np.float64]:
    """Compute the distances between all embeddings.

    Parameters
    ----------
    network
        Network whose loss defines the distance of the learned parts.
    embeddings
        Embeddings (n, e).

    Returns
    -------
    ndarray
        Symmetric matrix (n, n) with zeros on the diagonal.
    """
    learned, edges = compute_part_distances(network, embeddings)
    return _fuse_distances(network, torch.from_numpy(learned), torch.from_numpy(edges)).numpy()


def compute_part_distances(
    network: SiameseNetwork, embeddings: torch.Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the distances between all embeddings (n, e) by each part alone, as two matrices (n, n): learned, edges.

    They are averaged with their transposes to remove rounding errors.
    """
    learned, edges = split_embeddings(embeddings)
    with torch.inference_mode():
        parts = network.recipe.distances(learned, learned), torch.cdist(edges.double(), edges.double())
        first, second = (((apart + apart.T) / 2).fill_diagonal_(0).double().numpy() for apart in parts)
    return first, second


def _fuse_distances(network: SiameseNetwork, learned: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    share = network.edge_share.double()
    return ((1 - share) * (learned / network.learned_scale.double()).square() + share * edges.square()).sqrt()


def project_embeddings(network: SiameseNetwork, embeddings: torch.Tensor) -> NDArray[np.float64]:
    """Transform embeddings into the space in which their distance is the Euclidean one.

    Parameters
    ----------
    network
        Network whose loss defines the space of the learned part; with the supervised-contrastive loss it is a sphere.
    embeddings
        Embeddings (n, e).

    Returns
    -------
    ndarray
        Transformed embeddings (n, e), float64.
    """
    learned, edges = split_embeddings(embeddings)
    share = network.edge_share.double()
    with torch.inference_mode():
        unit = network.recipe.unit(learned).double() / network.learned_scale.double()
        return torch.cat([(1 - share).sqrt() * unit, share.sqrt() * edges.double()], 1).numpy()


def measure_pair_distances(
    network: SiameseNetwork, embeddings: torch.Tensor, first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Measure the distances of pairs of scans, block by block, to limit memory.

    Parameters
    ----------
    network
        Network whose loss defines the distance of the learned parts.
    embeddings
        Embeddings (n, e).
    first, second
        Numbers of the two scans of each pair (p,).

    Returns
    -------
    ndarray
        Distances (p,).
    """
    one, other = torch.tensor(first), torch.tensor(second)
    blocks = [slice(start, start + PAIRS_PER_BLOCK) for start in range(0, len(first), PAIRS_PER_BLOCK)]
    parts = [measure_distances(network, embeddings[one[block]], embeddings[other[block]]) for block in blocks]
    return np.concatenate([np.empty(0), *parts])
