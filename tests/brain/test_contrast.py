"""The contrast of a scan, told from its image."""

from __future__ import annotations

import numpy as np
import pytest

from siamese_med.brain.contrast import guess_contrast_from_image, measure_tissue_brightness
from siamese_med.brain.segmentation import segment_brain
from siamese_med.imaging.volume import Volume
from siamese_med.simulation.synthetic_head_scans import HeadProtocol
from siamese_med.study.thresholds import MIN_CONTRAST_CONFIDENCE
from tests.brain.real_people import scan_of


@pytest.mark.parametrize("contrast", ["T1w", "T2w"])
def test_the_contrast_of_a_synthetic_scan_is_told(contrast: str) -> None:
    scan = scan_of(HeadProtocol(contrast, bias=0.1)).scan
    word, confidence = guess_contrast_from_image(scan, segment_brain(scan))
    assert word == contrast
    assert confidence > 0.6


def test_a_synthetic_flair_is_not_taken_for_another_contrast_by_ingest() -> None:
    """What FLAIR looks like is known from two people of one scanner alone, so it is often not told at all."""
    scan = scan_of(HeadProtocol("FLAIR", bias=0.1)).scan
    word, confidence = guess_contrast_from_image(scan, segment_brain(scan))
    assert word == "FLAIR" or confidence < MIN_CONTRAST_CONFIDENCE


def test_what_has_no_brain_has_no_contrast() -> None:
    empty = Volume(np.zeros((40, 40, 40), dtype=np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))
    found = segment_brain(empty)
    assert measure_tissue_brightness(empty, found) is None
    assert guess_contrast_from_image(empty, found) == ("unknown", 0.0)
