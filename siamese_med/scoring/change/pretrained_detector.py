"""The change detector that ships with the package: a network that was trained on known changes of brains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as functional
from torch import Tensor

from siamese_med.scoring.change import change_unet
from siamese_med.scoring.change.change_unet import ChangeUNet
from siamese_med.scoring.change.pair_registration import RegisteredPair
from siamese_med.scoring.change.residual_detector import detect_with_residual

NETWORK_MM = 1.5
"""Voxel edge that the network was trained at; pairs on another grid are brought to it and back."""
MIN_LOG_ODDS = -4.0
"""Log odds of change far below this count as no evidence. Source: our choice."""
ODDS_EXPONENT, EVIDENCE_SCALE = 0.25, 1.5
"""Evidence grows with this power of the odds, so that the figure of an unchanged pair follows its level about as that
of the residual does (`noise_floor.PRIOR_SLOPE`); the scale brings it into the range of `change_map.TAIL_THRESHOLDS`.

Source: rescans of three real heads."""
RESIDUAL_WEIGHT = 0.75
"""Weight of the plain residual beside the network's evidence. What the network has never been shown it may pass over,
such as a ball of a few ml that is a little brighter all over; the residual sees that.

Source: 12 heads with planted lesions and 13 without change, see docs/results.md: with it the average precision is as
without it, and the smallest detectable change as that of the residual or less."""


@dataclass(frozen=True)
class PretrainedDetector:
    """The detector of brains that ships with its weights; a `pair_registration.ChangeDetector`.

    With s the odds of "brighter by a change" against "unchanged", and d those of "darker", both the geometric mean of
    what the network says of (a, b) and of (b, a) with the two exchanged::

        e = 1.5 (1 + s exp(4))^(1/4) - 1.5 (1 + d exp(4))^(1/4) + 0.75 r

    r is the evidence of `residual_detector.detect_with_residual`. Where no brain was found, the pair is of something
    that the network has never seen: there the residual alone is used.

    Attributes
    ----------
    smoothing_mm
        Of the residual.
    level_quantile
        See `change_map.LEVEL_QUANTILE`. A tumour of a tenth of the brain does not raise the middle of the map.
    """

    smoothing_mm: float
    level_quantile: ClassVar[float] = 0.5

    def __call__(self, pair: RegisteredPair, spacing_mm: float) -> Tensor:
        """Return the signed evidence of change (i, j, k), float32: positive where the later scan is brighter.

        It is 0 outside the body. `spacing_mm` is the voxel edge of the pair.
        """
        residual = detect_with_residual(pair, spacing_mm, self.smoothing_mm)
        if pair.space.whole_body:
            return residual
        scans = torch.stack([pair.a, pair.b, pair.inside.float()])[None]
        factor = spacing_mm / NETWORK_MM
        if abs(factor - 1) > 0.01:
            scans = functional.interpolate(scans, scale_factor=factor, mode="trilinear", align_corners=False)
        a, b, inside = scans[0]
        evidence = compute_evidence(a, b, inside > 0.5)
        if evidence.shape != pair.a.shape:
            size = tuple(pair.a.shape)
            evidence = functional.interpolate(evidence[None, None], size=size, mode="trilinear", align_corners=False)
            evidence = evidence[0, 0]
        return (evidence + RESIDUAL_WEIGHT * residual) * pair.inside


def compute_evidence(a: Tensor, b: Tensor, inside: Tensor, network: ChangeUNet | None = None) -> Tensor:
    """Compute the evidence (i, j, k) of two matched scans at NETWORK_MM; 0 outside the mask `inside`.

    Without a `network`, it is the one that ships.
    """
    places = torch.nonzero(inside)
    if not len(places):
        return torch.zeros_like(a)
    box = tuple(slice(int(low), int(high) + 1) for low, high in zip(places.amin(0), places.amax(0), strict=True))
    inputs = change_unet.make_inputs(a[box], b[box], inside[box])
    room = [size for n in reversed(inputs.shape[2:]) for size in (0, -n % change_unet.MULTIPLE)]
    inputs = functional.pad(inputs, room)
    network = network or change_unet.load_change_network()
    with torch.inference_mode():
        one, other = network(inputs).float()[0], network(change_unet.swap_inputs(inputs)).float()[0]
    brighter = ((one[1] - one[0]) + (other[2] - other[0])) / 2
    darker = ((one[2] - one[0]) + (other[1] - other[0])) / 2
    strength = _raise_odds(brighter) - _raise_odds(darker)
    i, j, k = (edge.stop - edge.start for edge in box)
    evidence = torch.zeros_like(a)
    evidence[box] = strength[:i, :j, :k] * inside[box]
    return evidence


def _raise_odds(log_odds: Tensor) -> Tensor:
    return EVIDENCE_SCALE * torch.exp(ODDS_EXPONENT * functional.softplus(log_odds - MIN_LOG_ODDS))
