"""A finding has one number in all pairs of its patient, and keeps it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.scoring import findings
from siamese_med.scoring.scan_poses import list_shared_frames
from siamese_med.study.component import Component
from siamese_med.study.pair_score import PairScore
from siamese_med.study.prepared_scans import PreparedScan
from siamese_med.study.vocabulary import NotComparable, Verdict

SHAPE = (48, 48, 48)
Ball = tuple[float, float, float, float]
"""Centre and radius, in the patient's mm."""
LEFT, RIGHT, FAR = (12.0, 20.0, 20.0, 4.0), (32.0, 20.0, 20.0, 4.0), (24.0, 36.0, 36.0, 4.0)


def pose(shift: float) -> np.ndarray:
    """From the mm of a scan to those of the patient: moved and turned by as many tenths of a degree."""
    angle = np.deg2rad(shift)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[0, 3] = shift
    return matrix


class Patient:
    """Scans in poses of their own, and pairs with change maps on the voxels of the earlier scan."""

    def __init__(self, folder: Path, subject: str = "sub-a") -> None:
        self.folder, self.subject, self.pairs = folder, subject, list[PairScore]()
        (folder / "maps").mkdir(exist_ok=True)

    def add(self, earlier: int, later: int, *balls: Ball, spacing: tuple[float, ...] = (1, 1, 1), **more: Any) -> None:
        name = f"maps/{self.subject}-{earlier}-{later}.nii.gz"
        affine = np.diag([*spacing, 1.0])
        shape = tuple(int(n / edge) for n, edge in zip(SHAPE, spacing, strict=True))
        places = np.moveaxis(np.indices(shape), 0, -1) @ (pose(earlier) @ affine)[:3, :3].T + pose(earlier)[:3, 3]
        found = np.zeros(shape, dtype=np.float32)
        for *centre, radius in balls:
            found[np.linalg.norm(places - centre, axis=-1) <= radius] = 0.99
        volume.write_volume(self.folder / name, Volume(found, affine))
        to_scan = np.linalg.inv(pose(earlier))
        parts = tuple(
            Component("new", 0.1, 1, 0.001, (None,) * 3, tuple((to_scan @ [*centre, 1])[:3].round(1).tolist()))
            for *centre, _ in balls
        )
        transform = np.linalg.inv(pose(later)) @ pose(earlier)
        score = PairScore(
            scan_a=f"{self.subject}_{earlier}",
            scan_b=f"{self.subject}_{later}",
            subject_a=self.subject,
            subject_b=self.subject,
            kind="follow_up",
            map=name,
            verdict=Verdict.CHANGED,
            components=parts,
            transform=tuple(map(tuple, transform.tolist())),
        )
        self.pairs.append(replace(score, **more))

    def numbers(self) -> list[list[int | None]]:
        return [
            [part.finding for part in pair.components] for pair in findings.number_findings(self.folder, self.pairs)
        ]


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


def test_the_same_place_has_one_number_in_all_pairs(patient: Patient) -> None:
    patient.add(1, 2, LEFT)
    patient.add(2, 3, RIGHT, LEFT)
    patient.add(1, 3, LEFT, RIGHT, FAR)
    assert patient.numbers() == [[1], [2, 1], [1, 2, 3]]


def test_numbers_stay_and_are_given_once(patient: Patient) -> None:
    patient.add(1, 2, LEFT, RIGHT)
    assert patient.numbers() == [[1, 2]]
    patient.pairs.clear()
    patient.add(1, 2, FAR, RIGHT)  # another model, say
    assert patient.numbers() == [[3, 2]]
    patient.pairs.clear()
    patient.add(1, 2, LEFT)
    assert patient.numbers() == [[1]], "a number is remembered while its finding is not seen"


def test_numbers_stay_when_a_visit_is_put_in(patient: Patient) -> None:
    patient.add(1, 3, LEFT, RIGHT)
    assert patient.numbers() == [[1, 2]]
    patient.pairs.clear()
    patient.add(0, 2, FAR, RIGHT)
    patient.add(0, 1)
    patient.add(2, 3, LEFT)
    patient.add(1, 3, RIGHT, LEFT)
    assert patient.numbers() == [[3, 2], [], [1], [2, 1]]


def test_a_larger_outline_is_the_same_finding_and_a_neighbour_is_not(patient: Patient) -> None:
    patient.add(1, 2, LEFT)
    assert patient.numbers() == [[1]]
    patient.pairs.clear()
    patient.add(1, 2, (12.0, 20.0, 20.0, 7.0), (12.0, 34.0, 20.0, 3.0))
    assert patient.numbers() == [[1, 2]]


def test_thick_slices_hold_the_same_findings(patient: Patient) -> None:
    patient.add(1, 2, LEFT, RIGHT)
    patient.add(2, 3, RIGHT, LEFT, spacing=(1, 1, 6))
    assert patient.numbers() == [[1, 2], [2, 1]]


def test_stable_parts_and_pairs_that_have_not_changed_get_no_number(patient: Patient) -> None:
    patient.add(1, 2, LEFT, verdict=Verdict.UNCERTAIN)
    patient.add(2, 3, RIGHT)
    stable = replace(patient.pairs[1].components[0], kind="may_be_chance")
    patient.pairs[1] = replace(patient.pairs[1], components=(stable,))
    assert patient.numbers() == [[None], [None]]
    assert findings.read_record(patient.folder / "findings" / "sub-a.npz").places == {}


def test_scans_that_are_not_registered_have_findings_of_their_own(patient: Patient) -> None:
    patient.add(1, 2, LEFT)
    patient.add(3, 4, LEFT)
    assert patient.numbers() == [[1], [2]]
    patient.add(2, 3, reasons=(NotComparable.PAIR_ALIGNMENT_FAILED,), verdict=Verdict.NOT_COMPARABLE)
    assert patient.numbers()[:2] == [[1], [2]]


def test_patients_count_apart_and_a_damaged_record_begins_again(tmp_path: Path) -> None:
    one, other = Patient(tmp_path, "sub-a"), Patient(tmp_path, "sub-b")
    one.add(1, 2, LEFT, RIGHT)
    other.add(1, 2, RIGHT)
    one.pairs += other.pairs
    assert one.numbers() == [[1, 2], [1]]
    (tmp_path / "findings" / "sub-a.npz").write_bytes(b"PK\x03\x04 nothing")
    assert one.numbers() == [[1, 2], [1]]
    findings.remove_departed_records(tmp_path, {"sub-b"})
    assert [path.name for path in (tmp_path / "findings").iterdir()] == ["sub-b.npz"]


def test_maps_of_pairs_that_are_as_they_were_are_not_read_again(patient: Patient) -> None:
    patient.add(1, 2, LEFT, RIGHT)
    patient.add(2, 3, RIGHT)
    before = patient.numbers()
    for path in (patient.folder / "maps").iterdir():
        path.unlink()
    assert patient.numbers() == before == [[1, 2], [2]]
    patient.pairs[1] = replace(patient.pairs[1], verdict=Verdict.UNCERTAIN)
    with pytest.raises(FileNotFoundError):
        patient.numbers()


def test_numbers_of_an_earlier_version_stay(patient: Patient) -> None:
    patient.add(1, 2, LEFT, RIGHT)
    patient.numbers()
    path = patient.folder / "findings" / "sub-a.npz"
    with np.load(path) as kept:
        before = {name: kept[name] for name in ("scans", "places", "free")}
    np.savez_compressed(path, **before)
    patient.pairs.clear()
    patient.add(1, 2, FAR, RIGHT)
    assert patient.numbers() == [[3, 2]]


def test_two_runs_give_the_same_record(patient: Patient) -> None:
    patient.add(1, 2, LEFT, RIGHT)
    patient.numbers()
    first = findings.read_record(patient.folder / "findings" / "sub-a.npz")
    patient.numbers()
    second = findings.read_record(patient.folder / "findings" / "sub-a.npz")
    assert first.free == second.free == 3
    for scan, places in first.places.items():
        np.testing.assert_array_equal(places, second.places[scan])


def test_contrasts_of_one_visit_share_numbers_where_their_scans_lie_in_one_frame(patient: Patient) -> None:
    patient.add(0, 3, LEFT, RIGHT)
    first = patient.pairs[0]
    patient.pairs.append(replace(first, scan_a="sub-a_10", scan_b="sub-a_13", components=first.components[:1]))
    apart = findings.number_findings(patient.folder, patient.pairs)
    assert [[part.finding for part in pair.components] for pair in apart] == [[1, 2], [3]]
    together = findings.number_findings(patient.folder, patient.pairs, (("sub-a_0", "sub-a_10"),))
    assert [[part.finding for part in pair.components] for pair in together] == [[1, 2], [1]]


def test_a_finding_that_is_brighter_and_darker_is_neither_new_nor_vanished(patient: Patient) -> None:
    patient.add(0, 3, LEFT, (LEFT[0] + 7.5, *LEFT[1:]))
    bright, dark = patient.pairs[0].components
    patient.pairs[0] = replace(patient.pairs[0], components=(bright, replace(dark, kind="vanished", sign=-1)))
    (pair,) = findings.number_findings(patient.folder, patient.pairs)
    assert [(part.finding, part.kind) for part in pair.components] == [(1, "brighter"), (1, "darker")]


def scan_at(name: str, shift_mm: float, ok: bool = True) -> PreparedScan:
    matrix = np.eye(4)
    matrix[0, 3] = shift_mm
    return PreparedScan(name, "sub-a", "ses-01", "MR", "T1w", "", (), "", "", matrix.tolist(), ok, None, None, "")


def test_scans_of_one_visit_are_in_one_frame_unless_their_alignments_contradict_it() -> None:
    scans = [
        scan_at("sub-a_ses-01_FLAIR", 0.0),
        scan_at("sub-a_ses-01_T1w", 5.0),
        scan_at("sub-a_ses-01_T2w", 60.0),
        scan_at("sub-a_ses-01_PDw", 0.0, ok=False),
        scan_at("sub-a_ses-02_FLAIR", 0.0),
    ]
    assert list_shared_frames(scans) == (("sub-a_ses-01_FLAIR", "sub-a_ses-01_T1w"),)
