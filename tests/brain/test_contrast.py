"""The contrast of a scan, told from its image."""

from __future__ import annotations

import numpy as np
import pytest

from siamese_med.brain.contrast import guess_contrast_from_image, measure_tissue_brightness
from siamese_med.brain.segmentation import segment_brain
from siamese_med.imaging.volume import Volume
from siamese_med.simulation.synthetic_head_scans import HeadProtocol
from tests.brain.real_people import scan_of


@pytest.mark.parametrize("contrast", ["T1w", "T2w", "FLAIR"])
def test_the_contrast_of_a_synthetic_scan_is_told(contrast: str) -> None:
    scan = scan_of(HeadProtocol(contrast, bias=0.1)).scan
    word, confidence = guess_contrast_from_image(scan, segment_brain(scan))
    assert word in ((contrast, "unknown") if contrast == "FLAIR" else (contrast,))  # real FLAIR are two people's
    assert confidence > 0.6


def test_what_has_no_brain_has_no_contrast() -> None:
    empty = Volume(np.zeros((40, 40, 40), dtype=np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))
    found = segment_brain(empty)
    assert measure_tissue_brightness(empty, found) is None
    assert guess_contrast_from_image(empty, found) == ("unknown", 0.0)
