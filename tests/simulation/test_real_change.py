"""A map is brought to the space of an expert's marks as the ITK affine says, on a simulated pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import planted, readings, real_change
from benchmarks.open_ms import LPS, read_itk_affine
from benchmarks.planted import Plan
from benchmarks.real_change import Marked
from siamese_med.imaging.volume import Volume, make_centred_affine
from siamese_med.scoring.change.pair_registration import register_pair
from siamese_med.simulation import anatomy, scanner
from siamese_med.simulation.mni_head import HEAD_GRID_MM, HEAD_GRID_SHAPE

CENTRE = np.array([3.0, -11.0, 7.0])


def _written_as_itk(path: Path, common_to_scan: np.ndarray) -> Path:
    """What ITK writes: x -> A (x - c) + c + t with x to the left, the back and the head."""
    matrix = LPS @ common_to_scan @ LPS
    shift = matrix[:3, 3] - CENTRE + matrix[:3, :3] @ CENTRE
    numbers = " ".join(str(value) for value in [*matrix[:3, :3].ravel(), *shift])
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: MatrixOffsetTransformBase_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: {' '.join(map(str, CENTRE))}\n"
    )
    return path


def test_an_itk_affine_is_read_as_it_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "to_common_space.txt"
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: MatrixOffsetTransformBase_double_3_3\n"
        "Parameters: 0 -1 0 1 0 0 0 0 1 5 6 7\nFixedParameters: 10 0 0\n"
    )
    matrix = read_itk_affine(path)
    # LPS (12, 3, 4): A (2, 3, 4) = (-3, 2, 4), and back the centre (10, 0, 0) and the shift (5, 6, 7): (12, 8, 11)
    np.testing.assert_allclose(matrix @ [-12, -3, 4, 1], [-12, -8, 11, 1])


def test_a_map_comes_to_lie_on_the_marks(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    person = anatomy.simulate_anatomy(rng, 0.3)
    later_person, change, _ = planted.planted(person, Plan("noise", 2500, 8000), rng)
    earlier, later = (
        scanner.acquire_scan(who, scanner.draw_scanners(rng, 1)[0], rng) for who in (person, later_person)
    )
    laid = register_pair(earlier.volume, later.volume, (None, None), 2.5)
    marks = Volume(
        np.asarray(change.abs().numpy() > 0.5, dtype=np.float32), make_centred_affine(HEAD_GRID_SHAPE, HEAD_GRID_MM)
    )
    to_scan = read_itk_affine(_written_as_itk(tmp_path / "itk.txt", np.linalg.inv(earlier.to_anatomy)))
    to_pair = np.linalg.inv(laid.matrix_earlier) @ to_scan @ marks.affine
    brain = Volume(np.ones(HEAD_GRID_SHAPE, dtype=np.float32), marks.affine)
    pair = Marked("patient", laid, marks, brain, to_pair)
    known = real_change.truth(pair)
    exact = real_change.on_marks(planted.on_pair(change, earlier, laid).abs(), pair)
    found = readings.of_pair(known, 10 * exact)
    assert found.lesions > 0
    assert found.peak_inside
    assert found.precision is not None
    assert found.precision > 0.9
    assert known.facts.volume_mm3 == pytest.approx(float(change.abs().sum()) * HEAD_GRID_MM**3, rel=0.2)
