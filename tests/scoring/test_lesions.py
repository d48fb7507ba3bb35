"""Lesions are followed over all dates: what became of each is right, and its number stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.scoring.lesions import lesion_table
from siamese_med.scoring.lesions.followed_scans import ScanWithLesions
from siamese_med.scoring.lesions.lesion_table import PatientJob
from siamese_med.scoring.lesions.marked_scan import MarkedScan, measure_overlaps
from siamese_med.scoring.lesions.tracking import judge_since_first, list_hidden_places, track_lesions
from siamese_med.study.lesion import LesionState, build_lesion_table, read_lesion_table
from siamese_med.study.pair_score import PairScore
from siamese_med.study.vocabulary import LesionFate, NotComparable

SHAPE = (40, 40, 40)
Ball = tuple[float, float, float, float]
"""Centre (i, j, k) and radius, in voxels."""


def draw(*balls: Ball) -> np.ndarray:
    axes = np.indices(SHAPE)
    mask = np.zeros(SHAPE, dtype=bool)
    for *centre, radius in balls:
        mask |= sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True)) <= radius**2
    return mask


def scan(*balls: Ball, affine: np.ndarray | None = None, to_patient: np.ndarray | None = None) -> MarkedScan:
    return MarkedScan(
        draw(*balls), np.eye(4) if affine is None else affine, np.eye(4) if to_patient is None else to_patient
    )


def fates(*scans: MarkedScan) -> list[list[str]]:
    return [[str(mark.fate) for mark in track.marks] for track in track_lesions(scans)]


A, B = (10.0, 10.0, 10.0, 4.0), (28.0, 28.0, 28.0, 4.0)


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([A, B], ["stable", "stable"]),
        ([(10, 10, 10, 5.5), B], ["enlarging", "stable"]),
        ([(10, 10, 10, 2.5), B], ["shrinking", "stable"]),
        ([B], ["vanished", "stable"]),
        ([(11, 10, 11, 4), B], ["stable", "stable"]),
    ],
)
def test_what_became_of_a_lesion(later: list[Ball], expected: list[str]) -> None:
    assert fates(scan(A, B), scan(*later)) == [["first", word] for word in expected]


def test_a_lesion_that_appears_and_goes_and_comes_back_is_one_lesion() -> None:
    assert fates(scan(A), scan(A, B), scan(A), scan(A, B)) == [
        ["first", "stable", "stable", "stable"],
        ["new", "vanished", "returned"],
    ]


def test_lesions_that_grow_together_go_on_as_the_one_that_overlaps_more_and_did_not_grow_by_that() -> None:
    large, small, bridge = (14, 20, 20, 6), (27, 20, 20, 5), (21, 20, 20, 1.5)
    tracks = track_lesions([scan(large, small), scan(large, small, bridge)])
    assert [[str(mark.fate) for mark in track.marks] for track in tracks] == [["first", "stable"], ["first", "merged"]]
    assert tracks[1].marks[-1].other == 0


def test_a_lesion_that_splits_goes_on_as_its_largest_part_and_did_not_shrink_by_that() -> None:
    large, small, bridge = (14, 20, 20, 6), (27, 20, 20, 5), (21, 20, 20, 1.5)
    tracks = track_lesions([scan(large, small, bridge), scan(large, small)])
    assert [[str(mark.fate) for mark in track.marks] for track in tracks] == [["first", "stable"], ["split"]]
    assert tracks[1].marks[0].other == 0


def test_lesions_that_were_one_for_a_while_are_the_same_two_again() -> None:
    large, small, bridge = (14, 20, 20, 6), (27, 20, 20, 5), (21, 20, 20, 1.5)
    tracks = track_lesions([scan(large, small), scan(large, small, bridge), scan(large, small)])
    assert len(tracks) == 2
    assert [str(mark.fate) for mark in tracks[1].marks] == ["first", "merged", "split"]


def test_neighbours_that_only_touch_are_not_joined() -> None:
    before, after = scan((10, 10, 10, 5)), scan((9, 10, 10, 3), (18, 10, 10, 4))
    assert measure_overlaps(before, after).shape == (1, 2)
    assert fates(before, after) == [["first", "shrinking"], ["new"]]


def test_a_small_lesion_a_voxel_away_is_the_same_and_one_farther_is_not() -> None:
    assert fates(scan((10, 10, 10, 1)), scan((13, 10, 10, 1))) == [["first", "stable"]]
    assert fates(scan((10, 10, 10, 1)), scan((18, 10, 10, 1))) == [["first", "vanished"], ["new"]]


def test_nothing_is_said_of_a_lesion_that_a_scan_does_not_show() -> None:
    slab = MarkedScan(draw(A)[:20], np.eye(4), np.eye(4))
    assert fates(scan(A, B), slab, scan(A, B)) == [["first", "stable", "stable"], ["first", "stable"]]


def test_a_lesion_is_new_only_where_an_earlier_scan_shows_its_place() -> None:
    slab, whole, grown = MarkedScan(draw(A)[:20], np.eye(4), np.eye(4)), scan(A, B), scan(A, (28, 28, 28, 6))
    scans = [slab, whole, grown]
    tracks = track_lesions(scans)
    assert [[str(mark.fate) for mark in track.marks] for track in tracks] == [
        ["first", "stable", "stable"],
        ["first", "enlarging"],
    ]
    assert judge_since_first(scans, tracks, 1) == LesionFate.ENLARGING
    assert list_hidden_places(scans, tracks) == [[], [0]]
    assert judge_since_first(scans[:2], track_lesions(scans[:2]), 1) == LesionFate.FIRST, "nothing to compare it with"
    assert fates(scan(A), slab, whole) == [["first", "stable", "stable"], ["new"]], "the first scan shows it"


def test_what_a_scan_does_not_show_is_not_known_after_a_lesion_vanished_either() -> None:
    slab = MarkedScan(draw(A)[:20], np.eye(4), np.eye(4))
    scans = [scan(A, B), scan(A), slab]
    assert list_hidden_places(scans, track_lesions(scans)) == [[], [2]]


def test_a_new_lesion_that_merges_with_an_old_one_is_growth_since_the_first_date() -> None:
    large, small, bridge = (14, 20, 20, 6), (27, 20, 20, 5), (21, 20, 20, 1.5)
    for old in (large, small):
        scans = [scan(old), scan(large, small), scan(large, small, bridge)]
        tracks = track_lesions(scans)
        since = {judge_since_first(scans, tracks, number) for number in range(2)}
        assert since == {LesionFate.ENLARGING, LesionFate.MERGED}


def test_grids_and_poses_of_their_own_change_nothing() -> None:
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    turn[:2, 3] = 39
    fine, thick = scan(A, B), MarkedScan(draw(A, B)[:, :, ::3], np.diag([1.0, 1.0, 3.0, 1.0]), np.eye(4))
    turned = MarkedScan(draw(A, B)[::-1, ::-1], np.eye(4), turn)
    assert fates(fine, thick, turned) == [["first", "stable", "stable"]] * 2
    np.testing.assert_allclose(thick.volumes_ml, fine.volumes_ml, rtol=0.25)
    np.testing.assert_allclose(measure_overlaps(fine, turned)[:, ::-1], np.diag(fine.volumes_ml))


def test_the_error_of_a_volume_grows_with_its_surface_and_its_voxels() -> None:
    small, large = scan((20, 20, 20, 3)), scan((20, 20, 20, 9))
    assert 7 < large.errors_ml[0] / small.errors_ml[0] < 11
    coarse = replace(small, affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    np.testing.assert_allclose(coarse.errors_ml, 8 * small.errors_ml)


def test_slow_growth_shows_since_the_first_date() -> None:
    radii = (4.0, 4.3, 4.6, 5.0)
    scans = [scan((20, 20, 20, radius)) for radius in radii]
    assert judge_since_first(scans, track_lesions(scans), 0) == LesionFate.ENLARGING


def test_a_lesion_that_merged_or_split_did_not_grow_or_shrink_by_that_since_the_first_date() -> None:
    large, small, bridge = (14, 20, 20, 6), (27, 20, 20, 5), (21, 20, 20, 1.5)
    apart, joined = scan(large, small), scan(large, small, bridge)
    for scans in ([joined, apart], [apart, joined], [apart, apart, joined], [joined, apart, apart]):
        assert judge_since_first(scans, track_lesions(scans), 0) == LesionFate.STABLE
    scans = [joined, scan((14, 20, 20, 8), small)]
    assert judge_since_first(scans, track_lesions(scans), 0) == LesionFate.ENLARGING


def test_a_lesion_that_goes_over_into_another_and_leaves_a_part_behind_changes_neither_sum() -> None:
    other, near, far = (12, 20, 20, 6), (24, 20, 20, 4), (33, 20, 20, 3.5)
    scans = [scan(other, near, far, (29, 20, 20, 1.5)), scan(other, near, far, (19, 20, 20, 2))]
    tracks = track_lesions(scans)
    assert [[str(mark.fate) for mark in track.marks] for track in tracks] == [
        ["first", "stable"],
        ["first", "merged"],
        ["split"],
    ]
    assert judge_since_first(scans, tracks, 0) == LesionFate.STABLE


# ---- the table of a patient


def write_patient(folder: Path, *visits: list[Ball], names: list[str] | None = None) -> PatientJob:
    """A patient with one scan a visit, all on one grid."""
    scans = []
    for name, balls in zip(names or [f"ses-{n:02}" for n in range(1, len(visits) + 1)], visits, strict=True):
        path = f"scans/{name}_lesions.nii.gz"
        (folder / "scans").mkdir(exist_ok=True)
        marked = draw(*balls)
        image = f"scans/{name}.nii.gz"
        volume.write_volume(folder / path, Volume(marked.astype(np.int16), np.eye(4)))
        volume.write_volume(folder / image, Volume(np.where(marked, 200.0, 100.0).astype(np.float32), np.eye(4)))
        scans.append(ScanWithLesions(name, name, "FLAIR", path, image, name))
    pairs = [
        PairScore(scan_a=one.id, scan_b=other.id, transform=tuple(map(tuple, np.eye(4).tolist())))
        for number, one in enumerate(scans)
        for other in scans[number + 1 :]
    ]
    return PatientJob(folder, "sub-a", tuple(scans), tuple(pairs))


def numbers_by_place(rows: list[LesionState]) -> dict[tuple[str, tuple[float | None, ...]], int | None]:
    return {(row.scan, row.centre_mm): row.lesion for row in rows if row.centre_mm}


C = (28.0, 10.0, 20.0, 3.0)


def test_numbers_stay_when_a_visit_is_inserted_and_lesions_are_drawn_again(tmp_path: Path) -> None:
    rows = lesion_table.follow_patient(write_patient(tmp_path, [A, B], [A, B, C], names=["ses-01", "ses-03"]))
    before = numbers_by_place(rows)
    assert sorted(set(before.values())) == [1, 2, 3]
    d = (10.0, 28.0, 12.0, 3.0)
    larger = (28.0, 28.0, 28.0, 5.0)
    names = ["ses-00", "ses-01", "ses-02", "ses-03"]
    again = lesion_table.follow_patient(
        write_patient(tmp_path, [larger, d], [A, B], [A, C], [larger, A, C], names=names)
    )
    after = numbers_by_place(again)
    assert {place: after[place] for place in before} == before
    assert after["ses-00", (28.0, 28.0, 28.0)] == before["ses-01", (28.0, 28.0, 28.0)]
    assert after["ses-00", (10.0, 28.0, 12.0)] == 4, "a new lesion gets a number that was never given"


def test_a_number_is_not_given_again_after_its_lesion_was_taken_away(tmp_path: Path) -> None:
    lesion_table.follow_patient(write_patient(tmp_path, [A, B], [A, B, C]))
    lesion_table.follow_patient(write_patient(tmp_path, [A, B], [A, B]))
    rows = lesion_table.follow_patient(write_patient(tmp_path, [A, B], [A, B, (10, 28, 12, 3)]))
    assert sorted({row.lesion for row in rows if row.lesion}) == [1, 2, 4]


def test_a_number_is_not_given_again_after_the_record_of_a_patient_was_lost(tmp_path: Path) -> None:
    job = write_patient(tmp_path, [A, B], [A, B, C])
    lesion_table.follow_patient(job)
    job.record.unlink()
    rows = lesion_table.follow_patient(write_patient(tmp_path, [(10, 28, 12, 3)], [(10, 28, 12, 3), (28, 10, 34, 3)]))
    assert sorted({row.lesion for row in rows if row.lesion}) == [4, 5]


def test_a_second_run_reads_what_is_kept_and_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    job = write_patient(tmp_path, [A, B], [A, B, C])
    rows = lesion_table.follow_patient(job)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "lesions").iterdir()}
    assert lesion_table.follow_patient(job) == rows
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "lesions").iterdir()} == times
    job.record.write_text("{")
    job.get_numbers_path(job.scans[0]).write_bytes(b"no image")
    assert lesion_table.follow_patient(job) == rows


def test_a_run_that_was_killed_between_two_files_gives_the_same_numbers(tmp_path: Path) -> None:
    job = write_patient(tmp_path, [A, B], [A, B, C], [A])
    rows = lesion_table.follow_patient(job)
    job.record.unlink()
    job.get_numbers_path(job.scans[0]).unlink()
    assert lesion_table.follow_patient(job) == rows


def test_scans_that_are_not_registered_are_named_and_not_followed(tmp_path: Path) -> None:
    job = write_patient(tmp_path, [A], [A], [A])
    failed = (NotComparable.PAIR_ALIGNMENT_FAILED,)
    pairs = tuple(replace(pair, reasons=failed) if "ses-03" in pair.scan_b else pair for pair in job.pairs)
    rows = lesion_table.follow_patient(replace(job, pairs=pairs))
    assert [(row.scan, str(row.fate), row.lesion) for row in rows] == [
        ("ses-01", "first", 1), ("ses-02", "stable", 1),
        ("ses-01", "total", None), ("ses-02", "total", None), ("ses-03", "unplaced", None),
    ]  # fmt: skip


def test_contrasts_have_lesions_of_their_own_and_numbers_are_a_patients(tmp_path: Path) -> None:
    job = write_patient(tmp_path, [A], [A, B])
    scans = (job.scans[0], replace(job.scans[1], contrast="T1w"))
    rows = lesion_table.follow_patient(replace(job, scans=scans))
    assert [(row.contrast, row.lesion) for row in rows if row.lesion] == [("FLAIR", 1), ("T1w", 2), ("T1w", 3)]


def test_specks_begin_no_lesion_and_count_in_the_total(tmp_path: Path) -> None:
    speck, small = (20.0, 5.0, 30.0, 0.0), (10.0, 10.0, 10.0, 0.0)
    rows = lesion_table.follow_patient(write_patient(tmp_path, [A, speck], [small, speck], [speck]))
    assert [(row.scan, str(row.fate)) for row in rows if row.lesion] == [
        ("ses-01", "first"), ("ses-02", "shrinking"), ("ses-03", "vanished"),
    ]  # fmt: skip
    totals = [row.volume_ml for row in rows if row.fate == "total"]
    assert totals == [pytest.approx(draw(A).sum() / 1000 + 0.001), pytest.approx(0.002), pytest.approx(0.001)]


def test_a_date_without_any_lesion_is_a_date(tmp_path: Path) -> None:
    rows = lesion_table.follow_patient(write_patient(tmp_path, [], [A]))
    first, _ = (row for row in rows if row.lesion is None)
    assert (first.scan, str(first.fate), first.volume_ml) == ("ses-01", "total", 0.0)
    assert [(row.scan, str(row.fate)) for row in rows if row.lesion] == [("ses-02", "new")]


def test_the_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = lesion_table.follow_patient(write_patient(tmp_path, [A, B], [A, C], []))
    build_lesion_table(rows).to_parquet(tmp_path / "lesions.parquet")
    assert read_lesion_table(tmp_path / "lesions.parquet") == rows
    assert read_lesion_table(tmp_path / "none.parquet") == []
