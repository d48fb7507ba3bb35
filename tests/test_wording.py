"""How numbers are written."""

from __future__ import annotations

import pytest

from siamese_med import wording


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (wording.fixed(None), "–"),
        (wording.fixed(float("nan")), "–"),
        (wording.fixed(-0.001), "0.00"),
        (wording.fixed(-1.26, 1), "−1.3"),
        (wording.measure(None, after=" ml"), "–"),
        (wording.measure(1.5, 1, "z "), "z 1.5"),
        (wording.probability(0.99999), "> 0.999"),
        (wording.probability(0.0001), "< 0.001"),
        (wording.probability(0.0512), "0.051"),
        (wording.percent(0.01), "1\u00a0%"),
        (wording.interval(1), "1 day"),
        (wording.interval(float("nan")), "unknown"),
        (wording.sizes([1, None]), "1.0 × –"),
        (wording.strength(0.2), "weak"),
        (wording.strength(3.99), "strong"),
        (wording.strength(4.0), "very strong"),
        (wording.times(0.2, 4.0), "about 1.6 times"),
        (wording.times(1.0, 4.0), "about 10 times"),
        (wording.times(3.996, 4.0), "about 9\u202f900 times"),
        (wording.times(4.01, 4.0), "more than 10\u202f000 times"),
        (wording.times(9.0, 1.08), "more than 12 times"),
        (wording.times(9.0, 2.5977), "more than 390 times"),
        (wording.times(9.0, 0.302), "more than 2 times"),
    ],
)
def test_numbers_are_written_for_people(written: str, expected: str) -> None:
    assert written == expected
