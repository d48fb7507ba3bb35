"""Pairs against the no-change pairs of their stratum."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from siamese_med.reporting.data.report_content import compute_band_z
from siamese_med.scoring.change import noise_floor, null_pairs, simulated_rescans
from siamese_med.scoring.change.change_map import TAIL_THRESHOLDS, MapSummary
from siamese_med.scoring.change.noise_floor import (
    OTHER_SCANNER,
    SAME_SCANNER,
    NoChangeReference,
    NoiseFloor,
    NoiseStratum,
    assign_stratum,
)
from siamese_med.scoring.change.pair_scoring import combine_p_values
from siamese_med.study.model_info import RecordedNoiseFloor
from siamese_med.study.prepared_scans import PreparedScan


def finding(log_figure: float, log_level: float = 0.0) -> MapSummary:
    return MapSummary(math.exp(log_figure), 1, math.exp(log_level), 0.02, np.linspace(1, 0, len(TAIL_THRESHOLDS)))


def flat(*logs: float) -> NoChangeReference:
    """Pairs of one level, so that there is no slope to learn."""
    return noise_floor.build_no_change_reference([finding(log) for log in logs], "rescans")


def prepared(name: str, contrast: str) -> PreparedScan:
    return PreparedScan(name, "sub-1", "ses-01", "MR", contrast, "scanner-a", (), "", "", [], True, None, None, "")


@pytest.mark.parametrize(("contrasts", "real"), [(("T1w", "T1w"), 8), (("T1w", "unknown"), 0), (("T1w", "T2w"), 0)])
def test_only_rescans_of_one_contrast_are_pairs_without_change(contrasts: tuple[str, str], real: int) -> None:
    rescans = [(prepared(f"{n}a", contrasts[0]), prepared(f"{n}b", contrasts[1])) for n in range(8)]
    strata = dict(null_pairs._strata(rescans, [pair[0] for pair in rescans], 4))
    chosen = strata[NoiseStratum("MR T1w", SAME_SCANNER)]
    assert sum(later is not None for _, later in chosen) == real
    assert len(chosen) == (real or 4)  # else they are simulated


@pytest.mark.parametrize(
    ("owners", "others", "real"),
    [("aaaaaaaa", "", 8), ("aaaaaaaa", "b", 0), ("aaabbbccc", "d", 0), ("aabbccdd", "e", 8)],
)
def test_rescans_of_a_few_patients_say_nothing_of_the_others(owners: str, others: str, real: int) -> None:
    first, second = (
        [replace(prepared(f"{n}{visit}", "T1w"), subject=owner) for n, owner in enumerate(owners)] for visit in "12"
    )
    scans = [*first, *(replace(prepared(owner, "T1w"), subject=owner) for owner in others)]
    strata = dict(null_pairs._strata(list(zip(first, second, strict=True)), scans, 4))
    chosen = strata[NoiseStratum("MR T1w", SAME_SCANNER)]
    assert sum(later is not None for _, later in chosen) == real
    assert len(chosen) == (real or 4)


def test_of_many_rescans_those_of_most_patients_are_measured() -> None:
    owners = "a" * 100 + "bcd"
    rescans = [(replace(prepared(str(n), "T1w"), subject=owner),) * 2 for n, owner in enumerate(owners)]
    strata = dict(null_pairs._strata(rescans, [pair[0] for pair in rescans], 4))
    chosen = strata[NoiseStratum("MR T1w", SAME_SCANNER)]
    assert len(chosen) == null_pairs.MAX_REAL_RESCANS
    assert {scan.subject for scan, _ in chosen} == set("abcd")


def test_z_and_p_follow_the_figure() -> None:
    known = flat(1.0, 1.2, 0.8, 1.1, 0.9)
    assert known.z(finding(1.0)) == pytest.approx(0)
    assert known.p(finding(1.0)) == pytest.approx(0.5)
    assert known.z(finding(1.0 + 2 * known.sd)) == pytest.approx(2)
    values = [known.p(finding(log)) for log in np.linspace(0, 3, 30)]
    assert values == sorted(values, reverse=True)


def test_a_scan_with_itself_has_not_changed_at_all() -> None:
    nothing = MapSummary(0.0, 0, 0.0, 0.0, np.zeros(len(TAIL_THRESHOLDS)))
    known = flat(1.0, 1.2, 0.8)
    assert (known.z(nothing), known.p(nothing)) == (0, 1)


def test_few_reference_pairs_give_more_cautious_p_values() -> None:
    few, many = flat(0.9, 1.0, 1.1), flat(*[0.9, 1.0, 1.1] * 20)
    assert few.p(finding(1.3)) > 2 * many.p(finding(1.3))


def test_the_band_of_a_page_ends_where_a_verdict_begins() -> None:
    known = flat(1.0, 1.2, 0.8, 1.1, 0.9)
    end = finding(1.0 + compute_band_z(5, 0.05)[1] * known.sd)
    assert combine_p_values(known.p(end), 1.0) == pytest.approx(0.05, rel=1e-3)


def test_one_further_pair_of_the_same_law_alarms_as_often_as_claimed() -> None:
    rng = np.random.default_rng(3)
    alarms = []
    for _ in range(400):
        levels = rng.normal(0, 0.15, 25)
        figures = 1.5 + 0.8 * levels + rng.normal(0, 0.12, 25)
        known = noise_floor.build_no_change_reference(
            [finding(*pair) for pair in zip(figures[1:], levels[1:], strict=True)], "rescans"
        )
        alarms.append(known.p(finding(figures[0], levels[0])) < 0.05)
    assert 0.025 < np.mean(alarms) < 0.085


def test_a_noisier_pair_must_show_a_larger_figure() -> None:
    levels = np.linspace(-0.5, 0.5, 24)
    known = noise_floor.build_no_change_reference(
        [finding(1 + level + 0.01 * (-1) ** n, level) for n, level in enumerate(levels)], "rescans"
    )
    assert 0.5 < known.slope <= 1
    assert known.p(finding(1.4, 0.0)) < 0.01 < 0.3 < known.p(finding(1.4, 0.5))


def test_a_reference_of_one_level_learns_no_slope_from_chance() -> None:
    rng = np.random.default_rng(0)
    levels = rng.normal(0, 0.01, 24)
    known = noise_floor.build_no_change_reference([finding(1 + 5 * level, level) for level in levels], "rescans")
    assert known.slope == pytest.approx(noise_floor.PRIOR_SLOPE, abs=0.1)


def test_synthesised_pairs_are_taken_for_more_alike_than_real_ones() -> None:
    findings = [finding(log) for log in (0.9, 1.0, 1.1, 0.95, 1.05)]
    real, made = (
        noise_floor.build_no_change_reference(findings, "rescans"),
        simulated_rescans.build_synthetic_reference("network", findings),
    )
    assert made.sd == pytest.approx(math.hypot(real.sd, simulated_rescans.SYNTHETIC_EXTRA_LOG_SD))
    assert made.p(finding(1.3)) > real.p(finding(1.3))
    assert simulated_rescans.build_synthetic_reference(simulated_rescans.GROWTH, findings).sd > made.sd


def test_pairs_far_from_the_references_levels_get_cautious_p_values() -> None:
    rng = np.random.default_rng(1)
    known = noise_floor.build_no_change_reference(
        [finding(one, rng.normal(0, 0.1)) for one in rng.normal(1, 0.1, 24)], "rescans"
    )
    here, far = (
        MapSummary(math.exp(known.expected(finding(0, at)) + 0.3), 1, math.exp(at), 0, TAIL_THRESHOLDS) for at in (0, 2)
    )
    assert known.p(far) > 3 * known.p(here)


def test_the_tail_is_stretched_for_a_pair_of_a_higher_level() -> None:
    levels = np.linspace(-0.5, 0.5, 24)
    known = noise_floor.build_no_change_reference([finding(1 + level, level) for level in levels], "rescans")
    usual, higher = (known.expected_tail(finding(1, level)) for level in (0.0, 0.5))
    assert (higher[1:-1] > usual[1:-1]).all()


@pytest.mark.parametrize(
    ("contrasts", "scanners", "expected"),
    [
        (("FLAIR", "FLAIR"), ("scanner-a", "scanner-a"), NoiseStratum("MR FLAIR", SAME_SCANNER)),
        (("FLAIR", "FLAIR"), ("scanner-a", "scanner-b"), NoiseStratum("MR FLAIR", OTHER_SCANNER)),
        (("FLAIR", "unknown"), ("unknown", "unknown"), NoiseStratum("MR FLAIR", OTHER_SCANNER)),
        (("unknown", "unknown"), ("scanner-a", "unknown"), NoiseStratum("MR unknown", OTHER_SCANNER)),
        (("T2w", "FLAIR"), ("scanner-a", "scanner-a"), NoiseStratum("MR FLAIR and T2w", SAME_SCANNER)),
    ],
)
def test_pairs_are_kept_apart_by_contrast_and_scanner(
    contrasts: tuple[str, str], scanners: tuple[str, str], expected: NoiseStratum
) -> None:
    assert assign_stratum("MR", contrasts, scanners) == expected
    assert assign_stratum("MR", contrasts[::-1], scanners[::-1]) == expected


def test_a_floor_survives_its_way_through_the_model_description() -> None:
    known = NoiseFloor(
        {
            NoiseStratum("MR FLAIR", SAME_SCANNER): flat(1.0, 1.2, 0.8),
            NoiseStratum("MR T1w", OTHER_SCANNER): flat(2.0, 2.1, 2.3),
        }
    )
    read = noise_floor.from_record(
        RecordedNoiseFloor.model_validate_json(json.dumps(known.to_record().to_json_object()))
    )
    assert read == known
    assert read.of(NoiseStratum("MR FLAIR", OTHER_SCANNER)) is None


def test_the_description_holds_what_a_page_shows() -> None:
    (one,) = NoiseFloor({NoiseStratum("MR FLAIR", SAME_SCANNER): flat(1.0, 1.2, 0.8)}).to_record().strata
    assert (one.contrast, one.scanner, one.source, one.n) == ("MR FLAIR", SAME_SCANNER, "rescans", 3)
    assert sorted(one.z) == pytest.approx([-1 / one.sd * 0.2, 0, 0.2 / one.sd])


def test_the_prediction_is_students_for_one_further_pair() -> None:
    known = flat(1.0, 1.2, 0.8, 1.1, 0.9)
    above = 0.4 / (known.sd * math.sqrt(1 + 1 / 5))
    assert known.p(finding(1.4)) == pytest.approx(stats.t.sf(above, 3))
    assert known.p(replace(finding(9.0)), math.exp(1.4)) == pytest.approx(stats.t.sf(above, 3))


def test_pairs_that_show_nothing_at_all_still_give_finite_figures() -> None:
    nothing = MapSummary(0.0, 0, 0.0, 0.0, np.zeros(len(TAIL_THRESHOLDS)))
    known = noise_floor.build_no_change_reference([nothing] * 4, "synthesised")
    assert np.isfinite(known.residuals).all()
    assert known.p(nothing) == 1.0
