"""Scans filed under the wrong patient, among simulated embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from siamese_med.scoring.identity import wrong_patient
from siamese_med.scoring.identity.patient_evidence import EvidenceCurve
from siamese_med.study import thresholds
from siamese_med.study.tables import OWNER_COLUMNS
from tests import trained

CURVE = EvidenceCurve(slope=-3.0, intercept=9.0, alarm=0.5)
"""Even odds at a distance of 3, for scans about 1 apart within a patient and some 10 between patients."""


@dataclass
class Cohort:
    """Patients at their own places, with scans scattered around them."""

    vectors: np.ndarray
    scans: pd.DataFrame

    def filed(self, scan: int, patient: str) -> None:
        self.scans.loc[scan, "subject"] = patient

    def found(self) -> pd.DataFrame:
        judged = np.ones(len(self.scans), bool)
        return wrong_patient.build_owner_table(self.scans, judged, self.vectors, CURVE)


def cohort(patients: int = 6, scans: int = 3, seed: int = 0, scatter: float = 0.3) -> Cohort:
    rng = np.random.default_rng(seed)
    place = 8 * np.eye(patients, 8)
    vectors = (place[:, None] + rng.normal(0, scatter, (patients, scans, 8))).reshape(-1, 8)
    rows = [
        {"id": f"scan-{patient}{visit}", "subject": f"sub-{patient}", "session": f"ses-{visit}"}
        for patient in range(patients)
        for visit in range(scans)
    ]
    return Cohort(vectors, pd.DataFrame(rows))


def test_nobody_is_suspect_where_every_scan_lies_with_its_patient() -> None:
    found = cohort().found()
    assert tuple(found.columns) == OWNER_COLUMNS
    assert not found.alarm.any()
    assert (found.evidence > 1).all()
    assert found.owner.isna().all()


def test_a_scan_under_another_patient_raises_one_alarm_and_names_its_owner() -> None:
    study = cohort()
    study.filed(4, "sub-0")
    found = study.found()
    assert list(found.index[found.alarm]) == [4]
    row = found.loc[4]
    assert (row.scan, row.subject, row.owner) == ("scan-11", "sub-0", "sub-1")
    assert row.evidence < -1 < 1 < row.owner_evidence
    assert (found.evidence[~found.alarm] > 1).all(), "its companions are judged without it"


def test_of_two_scans_of_a_patient_the_one_that_fits_another_is_suspect() -> None:
    study = cohort(scans=2)
    study.filed(3, "sub-0")
    study.filed(1, "sub-5")  # so that sub-0 has one scan of its own and one of sub-1
    found = study.found()
    assert set(found.index[found.alarm]) == {1, 3}
    assert found.owner[3] == "sub-1"
    assert found.owner[1] == "sub-0"
    assert np.isnan(found.evidence[0]), "nothing is left to judge the remaining scan by"


def test_two_scans_that_changed_places_are_both_found() -> None:
    study = cohort(scans=4)
    study.filed(0, "sub-1")
    study.filed(5, "sub-0")
    found = study.found()
    assert set(found.index[found.alarm]) == {0, 5}
    assert (found.owner[0], found.owner[5]) == ("sub-0", "sub-1")


def test_a_scan_of_nobody_here_has_no_owner() -> None:
    study = cohort()
    study.vectors[2] = 8 * np.eye(8)[7]
    found = study.found()
    assert list(found.index[found.alarm]) == [2]
    assert found.owner[2] is None
    assert np.isnan(found.owner_evidence[2])


def test_a_whole_visit_under_another_patient_is_found_scan_by_scan() -> None:
    study = cohort(scans=6)
    study.scans["session"] = [f"ses-{visit // 2}" for _ in range(6) for visit in range(6)]
    for scan in (6, 7):
        study.filed(scan, "sub-0")
        study.scans.loc[scan, "session"] = "ses-9"
    found = study.found()
    assert set(found.index[found.alarm]) == {6, 7}
    assert set(found.owner[found.alarm]) == {"sub-1"}


def test_a_scan_that_cannot_be_judged_has_no_evidence_and_counts_for_nobody() -> None:
    study = cohort()
    judged = np.arange(18) != 4
    study.filed(4, "sub-0")
    found = wrong_patient.build_owner_table(study.scans, judged, study.vectors, CURVE)
    assert not found.alarm.any()
    assert np.isnan(found.evidence[4])
    assert len(found) == 18


@pytest.mark.parametrize("scans", [0, 1])
def test_with_next_to_nothing_there_is_no_alarm(scans: int) -> None:
    study = cohort(patients=1, scans=1)
    found = wrong_patient.build_owner_table(study.scans[:scans], np.ones(scans, bool), study.vectors[:scans], CURVE)
    assert len(found) == scans
    assert not found.alarm.any()


def test_what_the_model_was_not_trained_on_is_not_judged() -> None:
    scans = pd.DataFrame({"modality": ["MR", "MR", "CT", "MR"], "contrast": ["T1w", "T2w", "T1w", "T1w"]})
    info = trained.model_info(modalities=["MR"], contrasts=["FLAIR", "T1w"])
    aligned = np.array([True, True, True, False])
    assert wrong_patient.find_judgeable_scans(scans, aligned, info).tolist() == [True, False, False, False]


def test_exchanged_scans_change_patients_two_by_two() -> None:
    subjects = [f"sub-{number // 3}" for number in range(60)]
    visits = [f"ses-{number % 3}" for number in range(60)]
    filed = wrong_patient.exchange_scans(subjects, visits, 0.1, np.random.default_rng(0))
    assert filed.moved.sum() == 6
    assert sorted(filed.subjects) == sorted(subjects)
    assert [a != b for a, b in zip(filed.subjects, subjects, strict=True)] == filed.moved.tolist()
    assert [a != b for a, b in zip(filed.visits, visits, strict=True)] == filed.moved.tolist()
    assert len(set(zip(filed.subjects, filed.visits, strict=True))) == 60, "no visit is merged with another"


@pytest.mark.parametrize("scatter", [0.45, 0.6])
def test_the_alarm_learned_on_some_patients_finds_the_scans_of_others(scatter: float) -> None:
    def simulated(seed: int) -> tuple[np.ndarray, pd.DataFrame]:
        rng = np.random.default_rng(seed)
        place = rng.normal(size=(40, 1, 24))
        vectors = (place + scatter * rng.normal(size=(40, 4, 24))).reshape(-1, 24)
        return vectors, cohort(40, 4).scans

    vectors, scans = simulated(1)
    curve = wrong_patient.calibrate_evidence_curve(vectors, list(scans.subject), list(scans.session), 0.01, 0)
    vectors, scans = simulated(2)
    found, false = [], []
    for seed in range(5):
        filed = wrong_patient.exchange_scans(
            list(scans.subject), list(scans.session), 0.05, np.random.default_rng(seed)
        )
        moved = filed.moved
        table = wrong_patient.build_owner_table(
            scans.assign(subject=filed.subjects, session=filed.visits), np.ones(160, bool), vectors, curve
        )
        alarm = table.alarm.to_numpy()
        found.append(alarm[moved].mean())
        false.append(alarm[~moved].mean())
    assert np.mean(found) >= 0.95
    assert np.mean(false) <= 0.02


@pytest.mark.parametrize("rate", [0.002, 0.005, 0.01])
def test_no_more_rightly_filed_scans_than_the_rate_raise_an_alarm_in_the_exchanges_themselves(rate: float) -> None:
    rng = np.random.default_rng(3)
    vectors = (rng.normal(size=(30, 1, 8)) + 0.9 * rng.normal(size=(30, 3, 8))).reshape(-1, 8)
    scans = cohort(30).scans
    subjects, visits = list(scans.subject), list(scans.session)
    curve = wrong_patient.calibrate_evidence_curve(vectors, subjects, visits, rate, 0)
    assert curve.alarm > thresholds.MIN_SUSPICION_LOG10, "the scans are too far apart for this test"
    exchanges, false, stayed = np.random.default_rng(0), 0, 0
    for _ in range(wrong_patient.EXCHANGE_ROUNDS):
        filed = wrong_patient.exchange_scans(subjects, visits, wrong_patient.EXCHANGED_FRACTION, exchanges)
        again = scans.assign(subject=filed.subjects, session=filed.visits)
        alarm = wrong_patient.build_owner_table(again, np.ones(len(scans), bool), vectors, curve).alarm.to_numpy()
        false, stayed = false + int(alarm[~filed.moved].sum()), stayed + int((~filed.moved).sum())
    assert 0 < false <= rate * stayed
