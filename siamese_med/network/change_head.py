"""Change head: from the backbone's features of two scans to signed evidence of change, voxel by voxel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from siamese_med.imaging.noise_normalised_difference import normalise_difference
from siamese_med.network.backbone import LEAKY_RELU_SLOPE, SharedBackbone

Features = tuple[Tensor, Tensor, Tensor]
"""Backbone features at 1/2, 1/4 and 1/8 of the resolution, each (b, c, i, j, k)."""

INITIAL_THRESHOLD = 4.0
"""Evidence at which change and no change are equally likely before training; high, because change is rare."""
DEVIATION_SMOOTHING_VOXELS = (0.7, 1.2)
"""Standard deviations, in voxels, of the smoothing of the two deviations that the head starts from."""
INITIAL_DEVIATION_WEIGHTS = (0.3, 0.3)
"""Weights of these two deviations in the evidence before training."""
MAX_DEVIATION = 20.0
"""Deviations are clipped to this multiple of noise and misalignment; larger ones carry no more information."""


class ChangeHead(nn.Module):
    """Decoder over the three scales of a backbone that corrects the noise-normalised difference of two scans.

    The decoder is run in both directions. Evidence is the support for "the later scan is brighter" minus the support
    for
    "the earlier scan is brighter". So two equal scans give exactly zero, and swapping the scans flips the sign exactly.

    The weights of the decoder's last layer start at zero. Training therefore starts from the plain deviations, see
    `compute_deviations`.

    Parameters
    ----------
    trunk
        Backbone whose numbers of channels the decoder follows; its weights are not held here.
    """

    def __init__(self, trunk: SharedBackbone) -> None:
        super().__init__()
        halves, quarters, eighths = trunk.channels
        self.coarse = _block(2 * eighths, quarters)
        self.middle = _block(quarters + 2 * quarters, halves)
        self.plain = nn.Conv3d(1 + len(DEVIATION_SMOOTHING_VOXELS), halves // 2, 2, 2)
        self.fine = _block(halves + 2 * halves + halves // 2, halves)
        self.voxels = nn.ConvTranspose3d(halves, 1, 4, 2, 1)
        nn.init.zeros_(self.voxels.weight)
        self.shares = nn.Parameter(torch.tensor(INITIAL_DEVIATION_WEIGHTS))
        self.threshold = nn.Parameter(torch.tensor(INITIAL_THRESHOLD))

    def forward(self, trunk: SharedBackbone, earlier: Tensor, later: Tensor, plain: Tensor) -> Tensor:
        """Compute the signed evidence of change of pairs of scans.

        Parameters
        ----------
        trunk
            Backbone shared with the identity head.
        earlier, later
            Scans (b, 1, i, j, k) on one grid with compressed intensity (see `intensity.compress_intensity`); i, j and
            k must be multiples of eight.
        plain
            Their deviations (b, s, i, j, k), see `compute_deviations`.

        Returns
        -------
        Tensor
            Evidence (b, 1, i, j, k), positive where the later scan is brighter.
        """
        a, b = trunk(earlier), trunk(later)
        signs = torch.cat([later - earlier, torch.tanh(plain / (MAX_DEVIATION / 2))], 1)
        learned = self._brighter(a, b, signs) - self._brighter(b, a, -signs)
        evidence: Tensor = learned + (plain * self.shares[:, None, None, None]).sum(1, keepdim=True)
        return evidence

    def logits(self, evidence: Tensor) -> Tensor:
        """Turn evidence into the logits of a voxel-wise classification.

        Parameters
        ----------
        evidence
            Signed evidence (b, 1, i, j, k).

        Returns
        -------
        Tensor
            Unnormalised log probabilities (b, 3, i, j, k) of darker, unchanged and brighter. Change and no change are
            equally likely where the evidence is plus or minus the learned threshold.
        """
        return torch.cat([-evidence - self.threshold, torch.zeros_like(evidence), evidence - self.threshold], 1)

    def _brighter(self, a: Features, b: Features, signs: Tensor) -> Tensor:
        features = self.coarse(_compared(a[2], b[2]))
        features = self.middle(torch.cat([_finer(features), _compared(a[1], b[1])], 1))
        last = [_finer(features), _compared(a[0], b[0]), self.plain(signs)]
        found: Tensor = self.voxels(self.fine(torch.cat(last, 1)))
        return found


class ChangeNetwork(nn.Module):
    """Backbone and change head as one module: the part of a `SiameseNetwork` that detects change.

    Parameters
    ----------
    trunk
        Shared backbone.
    change
        Change head for this backbone.
    """

    def __init__(self, trunk: SharedBackbone, change: ChangeHead) -> None:
        super().__init__()
        self.trunk, self.change = trunk, change

    def forward(self, earlier: Tensor, later: Tensor, plain: Tensor) -> Tensor:
        """Compute the signed evidence of change; parameters and result are those of `ChangeHead.forward`."""
        evidence: Tensor = self.change(self.trunk, earlier, later, plain)
        return evidence


def compute_deviations(earlier: Tensor, later: Tensor, inside: Tensor) -> Tensor:
    """Compute the noise-normalised differences that the change head starts from.

    Call it with whole scans, because the noise is estimated over each pair.

    Parameters
    ----------
    earlier, later
        Scans (b, 1, i, j, k) on one grid.
    inside
        Body mask of the same shape, 0 or 1.

    Returns
    -------
    Tensor
        Deviations (b, s, i, j, k), one channel for each of `DEVIATION_SMOOTHING_VOXELS`, clipped to `MAX_DEVIATION`.
    """
    found = [
        normalise_difference(earlier, later, inside, sigma).clamp(-MAX_DEVIATION, MAX_DEVIATION)
        for sigma in DEVIATION_SMOOTHING_VOXELS
    ]
    return torch.cat(found, 1)


def _block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv3d(inputs, outputs, 3, 1, 1), nn.LeakyReLU(LEAKY_RELU_SLOPE))


def _compared(a: Tensor, b: Tensor) -> Tensor:
    """Difference of two feature maps, and what both have in common."""
    return torch.cat([b - a, torch.minimum(a, b)], 1)


def _finer(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode="trilinear", align_corners=False)
