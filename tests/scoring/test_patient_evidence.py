"""How strongly a scan speaks for a patient, on a few vectors by hand."""

from __future__ import annotations

import numpy as np
import pytest

from siamese_med.scoring.identity import patient_evidence
from siamese_med.scoring.identity.patient_evidence import PatientAssignment

EVERYONE = np.arange(5)


@pytest.fixture
def filing() -> PatientAssignment:
    """Patient a with three visits at 0, 2 and 4 on a line, patient b with two at 10 and 12."""
    return PatientAssignment(np.array([[0.0], [2.0], [4.0], [10.0], [12.0]]), list("aaabb"), list("12312"))


def test_a_scan_is_held_against_the_mean_of_the_rest_of_its_patient(filing: PatientAssignment) -> None:
    """Of two others at 2 and 4: 3 away, 9 squared, times two thirds; of one other: half of 4."""
    assert filing.own(EVERYONE) == pytest.approx([6.0, 0.0, 6.0, 2.0, 2.0])


def test_a_scan_is_held_against_the_mean_of_every_other_patient(filing: PatientAssignment) -> None:
    found = filing.others(np.array([0, 3]))
    assert found[0] == pytest.approx([np.inf, 121 * 2 / 3])
    assert found[1] == pytest.approx([64 * 3 / 4, np.inf])


def test_a_scan_that_is_set_aside_counts_for_nobody(filing: PatientAssignment) -> None:
    filing.set_aside(2)
    assert filing.own(np.array([0])) == pytest.approx([2.0])
    assert filing.others(np.array([3]))[0, 0] == pytest.approx(81 * 2 / 3)
    filing.set_aside(4)
    assert np.isnan(filing.own(np.array([3]))).all()


def test_a_patient_without_scans_is_infinitely_far(filing: PatientAssignment) -> None:
    filing.set_aside(3)
    filing.set_aside(4)
    assert np.isinf(filing.others(np.array([0]))).all()


def test_scans_of_one_visit_do_not_vouch_for_one_another() -> None:
    vectors = np.array([[0.0], [0.0], [8.0], [8.0]])
    assert PatientAssignment(vectors, list("aaaa"), list("1122")).own(np.arange(4)) == pytest.approx([64 * 2 / 3] * 4)


def test_scans_of_the_only_visit_do_for_want_of_others() -> None:
    assert PatientAssignment(np.array([[0.0], [4.0]]), list("aa"), list("11")).own(np.arange(2)) == pytest.approx(
        [8.0, 8.0]
    )


def test_visits_of_one_name_are_the_patients_own() -> None:
    """Session ses-01 of a is another than session ses-01 of b."""
    vectors = np.array([[0.0], [2.0], [10.0], [14.0]])
    assert PatientAssignment(vectors, list("aabb"), list("1212")).own(np.arange(4)) == pytest.approx(
        [2.0, 2.0, 8.0, 8.0]
    )


@pytest.mark.parametrize("scans", [2, 3, 6])
def test_the_evidence_is_right_whatever_the_number_of_scans(scans: int) -> None:
    """Where the evidence is x, the patient's own scans are 10 ** x times as frequent as strangers' scans."""
    rng = np.random.default_rng(0)

    def cohort(patients: int, each: int) -> tuple[np.ndarray, list[str], list[str]]:
        place = rng.normal(size=(patients, 1, 4))
        vectors = (place + rng.normal(0, 0.5, (patients, each, 4))).reshape(-1, 4)
        names = np.repeat(np.arange(patients), each).astype(str)
        return vectors, list(names), [str(number) for number in range(len(vectors))]

    slope, intercept = patient_evidence.fit_evidence_curve(*cohort(100, 4))
    filing = PatientAssignment(*cohort(300, scans))
    everyone = np.arange(len(filing.vectors))
    curve = patient_evidence.EvidenceCurve(slope, intercept, 0.0)
    own, strangers = curve.of(filing.own(everyone)), curve.of(filing.others(everyone)).ravel()
    strangers = strangers[np.isfinite(strangers)]
    for low, high in ((-2, -1), (-1, 0), (0, 1)):
        ours, theirs = (((values >= low) & (values < high)).mean() for values in (own, strangers))
        assert low - 0.5 < np.log10(ours / theirs) < high + 0.5
