"""The contrast of a scan from its voxels, for scans whose name and header do not tell it. Runs in a worker process."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache

import numpy as np

from siamese_med.errors import SiameseMedError
from siamese_med.imaging.intensity import choose_voxels
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import contrast
from siamese_med.ingestion.contrast_finding import NO_CONTRAST, ContrastFinding
from siamese_med.study.thresholds import MIN_CONTRAST_CONFIDENCE
from siamese_med.study.vocabulary import UNKNOWN, ContrastSource

ContrastReader = Callable[[Volume], tuple[str, float]]
"""Returns the contrast of a scan and the confidence in it, 0 to 1."""

SEGMENTATION_MODULE = "siamese_med.brain.segmentation"
READER_MODULE = "siamese_med.brain.contrast"

AIR_HU = -150.0
"""Threshold: values whose 1st percentile is lower are Hounsfield units; fat ends at -120. Unit: HU."""

MIN_FIELD_OF_VIEW_ML = 150.0
"""A smaller field of view shows too little of a brain, and is not worth the look. Unit: mL. Source: our choice."""

SAMPLED_VOXELS = 100_000
"""About so many voxels are looked at to tell CT from MR."""


def read_contrast_of_image(scan: Volume, modality: str, reader: ContrastReader | None = None) -> ContrastFinding:
    """Read the contrast of a brain scan from the image itself.

    Parameters
    ----------
    scan
        The volume, in RAS+ orientation.
    modality
        MR, or `unknown`: such a volume is left alone where it seems to be CT.
    reader
        Who looks at the image; None: the package's brain segmentation, or nobody where it is not installed.

    Returns
    -------
    ContrastFinding
        Without a contrast where no brain is found, or the confidence is below `thresholds.MIN_CONTRAST_CONFIDENCE`.
    """
    if not _may_show_a_brain(scan) or (modality == UNKNOWN and _seems_computed_tomography(scan)):
        return NO_CONTRAST
    reader = reader or find_contrast_reader()
    if reader is None:
        return NO_CONTRAST
    try:
        word, confidence = reader(scan)
    except (MemoryError, OSError, RuntimeError, ValueError, SiameseMedError):
        # the scan itself is sound, and goes on without a contrast
        return NO_CONTRAST
    if word == UNKNOWN or word not in contrast.CONTRASTS or confidence < MIN_CONTRAST_CONFIDENCE:
        return NO_CONTRAST
    return ContrastFinding(word, ContrastSource.IMAGE, round(min(float(confidence), 1.0), 4))


def should_ask_image(modality: str, contrast_word: str, source: ContrastSource) -> bool:
    """Tell whether the image has to tell the contrast: of MR, or of what may be MR, where nothing else did.

    Examples
    --------
    >>> should_ask_image("MR", "unknown", ContrastSource.NONE), should_ask_image("CT", "CT", ContrastSource.HEADER)
    (True, False)
    """
    return modality in ("MR", UNKNOWN) and contrast_word == UNKNOWN and source == ContrastSource.NONE


@cache
def find_contrast_reader() -> ContrastReader | None:
    """Return the function that reads the contrast of a brain scan; None where the package has no brain segmentation.

    It is looked up by name, since it brings torch, which a worker that only decodes files must not pay for. Torch gets
    one thread, as there is one worker for each processor.
    """
    try:
        segmentation, reading = (importlib.import_module(name) for name in (SEGMENTATION_MODULE, READER_MODULE))
    except ModuleNotFoundError:
        return None
    importlib.import_module("torch").set_num_threads(1)

    def read(scan: Volume) -> tuple[str, float]:
        found = segmentation.segment_brain(scan)
        if not found.found():
            return UNKNOWN, 0.0
        word, confidence = reading.guess_contrast_from_image(scan, found)
        return str(word), float(confidence)

    return read


def _may_show_a_brain(scan: Volume) -> bool:
    return float(np.prod(scan.voxels.shape) * np.prod(scan.spacing_mm)) / 1000 >= MIN_FIELD_OF_VIEW_ML


def _seems_computed_tomography(scan: Volume) -> bool:
    some = scan.voxels.reshape(-1)[choose_voxels(scan.voxels.size, SAMPLED_VOXELS)]
    return bool(np.percentile(some, 1) < AIR_HU)
