"""The contrast of a head scan, guessed from its image: how bright grey matter, white matter and fluid are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from siamese_med.brain.structures import Structure
from siamese_med.imaging import resampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from siamese_med.brain.segmentation import BrainSegmentation
    from siamese_med.imaging.volume import Volume

UNKNOWN_CONTRAST = "unknown"
"""The word for a contrast that cannot be told."""
MIN_CONTRAST_CONFIDENCE = 0.6
"""Below this confidence the contrast is `unknown`."""
MIN_TISSUE_VOXELS = 60
"""A tissue with fewer voxels of 2 mm cannot be measured."""
BRIGHT_QUANTILE = 0.998
"""Vessels and dura with contrast agent lie above this quantile of the brain and BRIGHT_MARGIN_VOXELS around it."""
BRIGHT_MARGIN_VOXELS = 1
WHITE = (Structure.LEFT_WHITE_MATTER, Structure.RIGHT_WHITE_MATTER)
GREY = (Structure.LEFT_CORTEX, Structure.RIGHT_CORTEX)
FLUID = (Structure.LEFT_LATERAL_VENTRICLE, Structure.RIGHT_LATERAL_VENTRICLE)


class TissueBrightness(NamedTuple):
    """Brightness inside the brain as a share of white matter's.

    Attributes
    ----------
    grey, fluid
        Medians of the cortex and of the lateral ventricles.
    bright
        The brightest of the brain and its surface: vessels, dura and enhancing tissue after contrast agent.
    """

    grey: float
    fluid: float
    bright: float


def measure_tissue_brightness(scan: Volume, found: BrainSegmentation) -> TissueBrightness | None:
    """Measure how bright grey matter, fluid and vessels are beside white matter; None where a tissue is not shown."""
    from scipy.ndimage import binary_dilation, binary_erosion

    laid = resampling.resample_volume(scan, found.affine, found.brain.shape)[0].numpy()
    image, inside = laid[0], laid[1] > 0.5
    if not inside.any():
        return None
    low = float(np.quantile(image[inside], 0.01))
    medians = []
    for parts, worn in ((WHITE, True), (GREY, False), (FLUID, False)):
        mask = np.isin(found.structures, parts) & inside
        smaller = binary_erosion(mask) if worn else mask
        if smaller.sum() < MIN_TISSUE_VOXELS:
            return None
        medians.append(float(np.median(image[smaller])) - low)
    white, grey, fluid = medians
    if white <= 0:
        return None
    near = binary_dilation(found.mask, iterations=BRIGHT_MARGIN_VOXELS) & inside
    bright = float(np.quantile(image[near], BRIGHT_QUANTILE)) - low
    return TissueBrightness(grey / white, fluid / white, bright / white)


TYPICAL_BRIGHTNESS: dict[str, tuple[TissueBrightness, TissueBrightness]] = {
    "T1w": (TissueBrightness(-0.39, -0.31, 0.25), TissueBrightness(0.17, 0.30, 0.12)),
    "T2w": (TissueBrightness(0.12, 0.40, 0.92), TissueBrightness(0.10, 0.30, 0.19)),
    "FLAIR": (TissueBrightness(0.05, -0.41, 0.34), TissueBrightness(0.10, 0.30, 0.12)),
    "T1wCE": (TissueBrightness(-0.10, -0.36, 0.54), TissueBrightness(0.10, 0.30, 0.12)),
}
"""Mean of the logarithms, and standard deviation, of each contrast.

Source: `python -m benchmarks.contrast_guess --print-typical`, real scans of 62 people."""


def guess_contrast_from_image(scan: Volume, segmentation: BrainSegmentation) -> tuple[str, float]:
    """Guess the contrast of a head scan from its image.

    Each contrast is a normal distribution of the logarithms of `TissueBrightness` (TYPICAL_BRIGHTNESS); the confidence
    is the share of the most likely one, and 0 where no tissue can be measured.

    Returns
    -------
    T1w, T2w, FLAIR, T1wCE or `unknown`, and the confidence, 0 to 1.
    """
    measured = measure_tissue_brightness(scan, segmentation)
    if measured is None:
        return UNKNOWN_CONTRAST, 0.0
    return choose_contrast(measured, TYPICAL_BRIGHTNESS)


def choose_contrast(
    measured: TissueBrightness, typical: dict[str, tuple[TissueBrightness, TissueBrightness]]
) -> tuple[str, float]:
    """Choose the most likely contrast, and its share of the likelihood of all; `unknown` where it is small.

    Examples
    --------
    >>> narrow = TissueBrightness(0.2, 0.2, 0.2)
    >>> typical = {"T1w": (TissueBrightness(-0.3, -1.2, 0.1), narrow), "T2w": (TissueBrightness(0.3, 1.0, 1.0), narrow)}
    >>> choose_contrast(TissueBrightness(0.7, 0.3, 1.1), typical)[0]
    'T1w'
    """
    place = np.log(np.maximum(np.asarray(measured), 1e-2))
    scores: list[float] = []
    for mean, spread in typical.values():
        away = (place - np.asarray(mean)) / np.asarray(spread)
        scores.append(float(-0.5 * (away**2).sum() - np.log(np.asarray(spread)).sum()))
    shares = _softmax(np.array(scores))
    best = int(shares.argmax())
    confidence = float(shares[best])
    return (list(typical)[best] if confidence >= MIN_CONTRAST_CONFIDENCE else UNKNOWN_CONTRAST), confidence


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum())
