"""What changed between two scans, voxel by voxel: differences of the shared encoder's features to signed evidence."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from siamese_med.imaging.noise_normalised_difference import normalise_difference
from siamese_med.network.backbone import LEAKY_RELU_SLOPE, SharedBackbone

Features = tuple[Tensor, Tensor, Tensor]

INITIAL_THRESHOLD = 4.0
"""Evidence at which change is as likely as none, before training: change is rare."""
DEVIATION_SMOOTHING_VOXELS = (0.7, 1.2)
"""Of the plain deviations that the head starts from, in voxels."""
INITIAL_DEVIATION_WEIGHTS = (0.3, 0.3)
"""What a deviation counts for before training."""
MAX_DEVIATION = 20.0
"""Deviations beyond this say no more."""


class ChangeHead(nn.Module):
    """A light decoder over the three scales of a Trunk, run in both directions, that corrects plain deviations.

    Evidence is what speaks for 'the later is brighter' less what speaks for 'the earlier is brighter'. So two equal
    scans give exactly zero, and two swapped scans exactly the negative. The decoder's last layer starts as nothing:
    training starts from deviations in units of noise and misalignment, and cannot start below them.
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
        """Signed evidence (b, 1, i, j, k) of scans (b, 1, i, j, k), positive where the later one is brighter.

        `plain`: their deviations, see `compute_deviations`; axes must be multiples of eight.
        """
        a, b = trunk(earlier), trunk(later)
        signs = torch.cat([later - earlier, torch.tanh(plain / (MAX_DEVIATION / 2))], 1)
        learned = self._brighter(a, b, signs) - self._brighter(b, a, -signs)
        evidence: Tensor = learned + (plain * self.shares[:, None, None, None]).sum(1, keepdim=True)
        return evidence

    def logits(self, evidence: Tensor) -> Tensor:
        """Unnormalised log probabilities of darker, unchanged and brighter: (b, 3, i, j, k)."""
        return torch.cat([-evidence - self.threshold, torch.zeros_like(evidence), evidence - self.threshold], 1)

    def _brighter(self, a: Features, b: Features, signs: Tensor) -> Tensor:
        features = self.coarse(_compared(a[2], b[2]))
        features = self.middle(torch.cat([_finer(features), _compared(a[1], b[1])], 1))
        last = [_finer(features), _compared(a[0], b[0]), self.plain(signs)]
        found: Tensor = self.voxels(self.fine(torch.cat(last, 1)))
        return found


class ChangeNetwork(nn.Module):
    """Trunk and change head: what sees change, apart from the rest of the network."""

    def __init__(self, trunk: SharedBackbone, change: ChangeHead) -> None:
        super().__init__()
        self.trunk, self.change = trunk, change

    def forward(self, earlier: Tensor, later: Tensor, plain: Tensor) -> Tensor:
        """Signed evidence, see `ChangeHead.forward`."""
        evidence: Tensor = self.change(self.trunk, earlier, later, plain)
        return evidence


def compute_deviations(earlier: Tensor, later: Tensor, inside: Tensor) -> Tensor:
    """What the head starts from, (b, s, i, j, k): deviations at every smoothing; of whole scans, for their noise."""
    found = [
        normalise_difference(earlier, later, inside, sigma).clamp(-MAX_DEVIATION, MAX_DEVIATION)
        for sigma in DEVIATION_SMOOTHING_VOXELS
    ]
    return torch.cat(found, 1)


def _block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv3d(inputs, outputs, 3, 1, 1), nn.LeakyReLU(LEAKY_RELU_SLOPE))


def _compared(a: Tensor, b: Tensor) -> Tensor:
    """What differs and what both have."""
    return torch.cat([b - a, torch.minimum(a, b)], 1)


def _finer(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode="trilinear", align_corners=False)
