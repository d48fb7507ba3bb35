"""How numbers are written."""

from __future__ import annotations

import pytest

from siamese_med.reporting import formatting


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formatting.fixed(None), "–"),
        (formatting.fixed(float("nan")), "–"),
        (formatting.fixed(-0.001), "0.00"),
        (formatting.fixed(-1.26, 1), "−1.3"),
        (formatting.measure(None, after=" ml"), "–"),
        (formatting.measure(1.5, 1, "z "), "z 1.5"),
        (formatting.probability(0.99999), "> 0.999"),
        (formatting.probability(0.0001), "< 0.001"),
        (formatting.probability(0.0512), "0.051"),
        (formatting.percent(0.01), "1\u00a0%"),
        (formatting.interval(1), "1 day"),
        (formatting.interval(float("nan")), "unknown"),
        (formatting.sizes([1, None]), "1.0 × –"),
        (formatting.describe_evidence_strength(0.2), "weak"),
        (formatting.describe_evidence_strength(3.99), "strong"),
        (formatting.describe_evidence_strength(4.0), "very strong"),
        (formatting.describe_likelihood_ratio(0.2, 4.0), "about 1.6 times"),
        (formatting.describe_likelihood_ratio(1.0, 4.0), "about 10 times"),
        (formatting.describe_likelihood_ratio(3.996, 4.0), "about 9\u202f900 times"),
        (formatting.describe_likelihood_ratio(4.01, 4.0), "more than 10\u202f000 times"),
        (formatting.describe_likelihood_ratio(9.0, 1.08), "more than 12 times"),
        (formatting.describe_likelihood_ratio(9.0, 2.5977), "more than 390 times"),
        (formatting.describe_likelihood_ratio(9.0, 0.302), "more than 2 times"),
    ],
)
def test_numbers_are_written_for_people(written: str, expected: str) -> None:
    assert written == expected
