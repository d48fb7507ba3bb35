"""What the pair table holds, and what it must never hold."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from siamese_med.errors import EmptyInputError, InputError
from siamese_med.pairing import pair_table, patient_splits
from siamese_med.study.config import PairConfig
from siamese_med.study.tables import PAIR_COLUMNS
from siamese_med.study.vocabulary import SAME_PATIENT, PairKind
from tests.pairing.conftest import Table

Cohort = Callable[..., pd.DataFrame]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "pairs.parquet"


def test_pairs_stay_within_one_split(cohort: Cohort, place: Path) -> None:
    table = pair_table.build_pair_table(cohort(24), place, PairConfig())
    sides = pd.concat(
        [
            table[["subject_a", "split"]].set_axis(["subject", "split"], axis=1),
            table[["subject_b", "split"]].set_axis(["subject", "split"], axis=1),
        ]
    )
    assert sides.groupby("subject").split.nunique().max() == 1
    assert set(table.split) == {"train", "validation", "test"}


def test_building_again_over_the_table_leaves_the_same_bytes(cohort: Cohort, place: Path) -> None:
    pair_table.build_pair_table(cohort(9), place, PairConfig())
    once = place.read_bytes()
    pair_table.build_pair_table(cohort(9), place, PairConfig())
    assert place.read_bytes() == once


def test_the_table_on_disk_is_the_one_returned(cohort: Cohort, place: Path) -> None:
    table = pair_table.build_pair_table(cohort(8), place, PairConfig())
    assert tuple(table.columns) == PAIR_COLUMNS
    pd.testing.assert_frame_equal(pd.read_parquet(place), table, check_dtype=False)


def test_never_a_scan_with_itself_and_no_pair_twice(cohort: Cohort, place: Path) -> None:
    table = pair_table.build_pair_table(cohort(12), place, PairConfig(negatives_per_positive=4))
    assert (table.scan_a != table.scan_b).all()
    unordered = [frozenset(pair) for pair in zip(table.scan_a, table.scan_b, strict=True)]
    assert len(set(unordered)) == len(unordered)


def test_kinds_say_whether_the_patients_are_the_same(cohort: Cohort, place: Path) -> None:
    table = pair_table.build_pair_table(cohort(12), place, PairConfig())
    assert ((table.subject_a == table.subject_b) == table.kind.isin(SAME_PATIENT)).all()
    assert (pair_table.is_same_patient(table) == table.kind.isin(SAME_PATIENT)).all()


def test_known_patients_keep_their_split_in_a_later_table(cohort: Cohort, place: Path) -> None:
    before = pair_table.build_pair_table(cohort(9), place, PairConfig()).set_index("subject_a").split.to_dict()
    after = pair_table.build_pair_table(cohort(40), place, PairConfig()).set_index("subject_a").split.to_dict()
    assert {name: after[name] for name in before} == before


def test_visits_without_a_date_are_ordered_by_number_not_by_letter(table: Table) -> None:
    scans = table({"subject": "sub-1", "session": session, "date": None} for session in ("ses-10", "ses-9"))
    (row,) = pair_table.build_same_patient_pairs(scans, 1)
    assert (row["scan_a"], row["scan_b"]) == ("sub-1_ses-9_FLAIR", "sub-1_ses-10_FLAIR")


def test_the_earlier_scan_comes_first_whatever_the_order_of_the_sessions(table: Table) -> None:
    scans = table(
        [
            {"subject": "sub-1", "session": "ses-1", "date": "2020-05-01"},
            {"subject": "sub-1", "session": "ses-2", "date": "2019-05-01"},
        ]
    )
    (row,) = pair_table.build_same_patient_pairs(scans, 1)
    assert (row["scan_a"], row["scan_b"]) == ("sub-1_ses-2_FLAIR", "sub-1_ses-1_FLAIR")
    assert row["interval_days"] == 366


@pytest.mark.parametrize(
    ("days", "changed", "kind"),
    [
        (0, None, "follow_up"),  # of the same day, at times that nobody knows
        (1, None, "rescan"),
        (2, None, "follow_up"),
        (400, None, "follow_up"),
        (400, 1, "changed"),
        (1, 1, "changed"),
        (400, 0, "rescan"),
        (400, float("nan"), "follow_up"),
    ],
)
def test_the_kind_follows_the_interval_unless_the_manifest_knows(
    table: Table, days: int, changed: float | None, kind: str
) -> None:
    later = (pd.Timestamp("2020-01-01") + pd.Timedelta(days=days)).date().isoformat()
    scans = table(
        [
            {"subject": "sub-1", "session": "ses-1", "date": "2020-01-01"},
            {"subject": "sub-1", "session": "ses-2", "date": later, "changed": changed},
        ]
    )
    (row,) = pair_table.build_same_patient_pairs(scans, rescan_days=1)
    assert (row["kind"], row["interval_days"]) == (kind, days)


def test_a_known_change_is_not_undone_by_a_quiet_visit_after_it(table: Table) -> None:
    dates = ["2020-01-01", "2020-06-01", "2020-12-01"]
    labels = [None, 1, 0]
    scans = table(
        {"subject": "sub-1", "session": f"ses-{n + 1}", "date": date, "changed": label}
        for n, (date, label) in enumerate(zip(dates, labels, strict=True))
    )
    kinds = {
        (row["scan_a"][6:11], row["scan_b"][6:11]): row["kind"] for row in pair_table.build_same_patient_pairs(scans, 1)
    }
    assert kinds[("ses-1", "ses-2")] == "changed"
    assert kinds[("ses-2", "ses-3")] == "rescan"
    assert kinds[("ses-1", "ses-3")] == "changed"


def test_an_unknown_date_gives_no_interval_and_no_rescan(table: Table) -> None:
    scans = table(
        [
            {"subject": "sub-1", "session": "ses-1", "date": None},
            {"subject": "sub-1", "session": "ses-2", "date": "2020-01-01"},
        ]
    )
    (row,) = pair_table.build_same_patient_pairs(scans, 1)
    assert (row["interval_days"], row["kind"]) == (None, "follow_up")
    assert row["scan_a"] == "sub-1_ses-2_FLAIR"


def test_hard_pairs_share_scanner_and_protocol_and_the_others_do_not(cohort: Cohort, place: Path) -> None:
    scans = cohort(24)
    table = pair_table.build_pair_table(scans, place, PairConfig(negatives_per_positive=3, hard_negative_share=0.5))
    machine = scans.set_index("id").scanner
    different = table[~table.kind.isin(SAME_PATIENT)]
    alike = different.scan_a.map(machine).to_numpy() == different.scan_b.map(machine).to_numpy()
    assert (alike == (different.kind == "different_hard").to_numpy()).all()
    assert 0.4 < alike.mean() < 0.9


def test_only_hard_pairs_where_only_hard_ones_are_asked_for(cohort: Cohort, place: Path) -> None:
    table = pair_table.build_pair_table(cohort(24), place, PairConfig(hard_negative_share=1.0))
    assert set(table.kind) - set(SAME_PATIENT) == {"different_hard"}


def test_an_unknown_scanner_makes_no_pair_hard(table: Table, place: Path) -> None:
    scans = table(
        {"subject": f"sub-{n}", "session": f"ses-{v}", "scanner": "unknown"} for n in range(8) for v in (1, 2)
    )
    assert "different_hard" not in set(pair_table.build_pair_table(scans, place, PairConfig()).kind)


def test_about_as_many_different_pairs_as_are_asked_for(cohort: Cohort, place: Path) -> None:
    table = pair_table.build_pair_table(cohort(40), place, PairConfig(negatives_per_positive=2))
    same = table.kind.isin(SAME_PATIENT)
    assert 1.4 < (~same).sum() / same.sum() < 2.6


def test_the_same_seed_gives_the_same_table_and_another_one_other_pairs(cohort: Cohort, tmp_path: Path) -> None:
    scans = cohort(20)
    first = pair_table.build_pair_table(scans, tmp_path / "1.parquet", PairConfig(seed=3))
    again = pair_table.build_pair_table(
        scans.sample(frac=1, random_state=0), tmp_path / "2.parquet", PairConfig(seed=3)
    )
    other = pair_table.build_pair_table(scans, tmp_path / "3.parquet", PairConfig(seed=4))
    keys = [set(zip(t.scan_a, t.scan_b, t.kind, t.split, strict=True)) for t in (first, again, other)]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]


@pytest.mark.parametrize(("visits", "expected"), [(2, 1), (6, 15), (7, 11), (40, 77)])
def test_a_long_time_line_grows_linearly(cohort: Cohort, visits: int, expected: int) -> None:
    assert len(list(pair_table.build_same_patient_pairs(cohort(1, visits), 1))) == expected


def test_a_long_time_line_keeps_every_neighbour_and_the_first_visit_as_base(cohort: Cohort) -> None:
    rows = {(row["scan_a"], row["scan_b"]) for row in pair_table.build_same_patient_pairs(cohort(1, 9), 1)}
    line = [f"sub-000_ses-{n}_FLAIR" for n in range(1, 10)]
    assert rows == {*pairwise(line), *((line[0], later) for later in line[2:])}


def test_scans_of_like_contrast_are_paired_where_there_are_such(table: Table) -> None:
    scans = table({"subject": "sub-1", "session": f"ses-{v}", "contrast": c} for v in (1, 2) for c in ("FLAIR", "T1w"))
    found = {(row["scan_a"], row["scan_b"]) for row in pair_table.build_same_patient_pairs(scans, 1)}
    assert found == {(f"sub-1_ses-1_{c}", f"sub-1_ses-2_{c}") for c in ("FLAIR", "T1w")}


def test_a_patient_with_other_contrasts_alone_is_paired_so_that_the_report_can_say_why_not(table: Table) -> None:
    scans = table(
        [
            {"subject": "sub-1", "session": "ses-1", "contrast": "T1w"},
            {"subject": "sub-1", "session": "ses-2", "contrast": "FLAIR"},
        ]
    )
    (row,) = pair_table.build_same_patient_pairs(scans, 1)
    assert (row["scan_a"], row["scan_b"]) == ("sub-1_ses-1_T1w", "sub-1_ses-2_FLAIR")


def kinds(rows: list[pair_table.PairTableRow]) -> set[tuple[str, str, str]]:
    return {(row["scan_a"][6:], row["scan_b"][6:], row["kind"]) for row in rows}


@pytest.mark.parametrize("changed", [None, 0])
def test_two_contrasts_of_one_session_are_no_rescan(table: Table, changed: float | None) -> None:
    scans = table(
        {"subject": "sub-1", "session": "ses-1", "contrast": contrast, "changed": changed}
        for contrast in ("T1w", "T1wCE", "FLAIR")
    )
    rows = list(pair_table.build_same_patient_pairs(scans, 1))
    assert len(rows) == 3
    assert {row["kind"] for row in rows} == {"follow_up"}


def test_two_acquisitions_of_one_contrast_in_one_session_are_a_rescan(table: Table) -> None:
    scans = table(
        {
            "subject": "sub-1",
            "session": "ses-1",
            "contrast": contrast,
            "id": f"sub-1_{contrast}_{run}",
            "acquired": time,
        }
        for contrast, run, time in (("T1w", 1, "10:00"), ("T1w", 2, "10:06"), ("FLAIR", 1, "10:12"))
    )
    assert kinds(list(pair_table.build_same_patient_pairs(scans, 1))) == {("T1w_1", "T1w_2", "rescan")}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (("10:00", "10:06"), ["rescan"]),
        (("10:00", None), ["follow_up"]),
        ((None, None), ["follow_up"]),
        (("10:00", "10:00"), []),  # stored twice, such as before and after a correction: the noise is the same
    ],
)
@pytest.mark.parametrize("visits", [("ses-1", "ses-1"), ("ses-1", "ses-2")])
def test_a_rescan_is_two_acquisitions_at_times_that_are_known(
    table: Table, times: tuple[str | None, ...], expected: list[str], visits: tuple[str, ...]
) -> None:
    scans = table(
        {"subject": "sub-1", "id": f"sub-1_{n}", "session": visit, "date": "2020-03-01", "acquired": time}
        for n, (visit, time) in enumerate(zip(visits, times, strict=True))
    )
    assert [row["kind"] for row in pair_table.build_same_patient_pairs(scans, 1)] == expected


def test_three_visits_on_one_day_are_an_anonymisers_date_and_no_rescans(table: Table) -> None:
    scans = table(
        {"subject": "sub-1", "session": f"ses-{n}", "date": "2011-11-11", "acquired": f"{n}:00"} for n in (1, 2, 3)
    )
    assert {row["kind"] for row in pair_table.build_same_patient_pairs(scans, 1)} == {"follow_up"}


def test_the_date_of_a_visit_may_be_that_of_a_scan_that_is_never_paired(table: Table, place: Path) -> None:
    first = {"subject": "sub-1", "session": "ses-1"}
    rows = [
        {**first, "contrast": "T1w", "date": None},
        {**first, "flags": ["split_volume"], "date": "2031-01-01"},
        {"subject": "sub-1", "session": "ses-2", "contrast": "T1w", "date": "2031-06-01"},
    ]
    (pair,) = pair_table.build_pair_table(table(rows), place, PairConfig()).itertuples()
    assert (pair.scan_a, pair.scan_b) == ("sub-1_ses-1_T1w", "sub-1_ses-2_T1w")


@pytest.mark.parametrize("flag", ["identity_conflict", "placeholder_id", "split_volume"])
def test_scans_of_nobody_knows_whom_and_parts_of_volumes_are_in_no_pair(cohort: Cohort, place: Path, flag: str) -> None:
    scans = cohort(12)
    scans["flags"] = [[flag] if subject == "sub-003" else [] for subject in scans.subject]
    table = pair_table.build_pair_table(scans, place, PairConfig())
    assert "sub-003" not in {*table.subject_a, *table.subject_b}
    assert table.subject_a.nunique() == 11
    scans["flags"] = [[flag] for _ in scans.subject]
    assert pair_table.build_pair_table(scans, place, PairConfig()).empty


def test_scans_of_two_contrasts_that_a_manifest_calls_unchanged_are_no_rescan(table: Table) -> None:
    scans = table(
        {"subject": "sub-1", "session": f"ses-{n}", "contrast": contrast, "changed": label}
        for n, contrast, label in ((1, "T1w", None), (2, "FLAIR", 0), (3, "unknown", 0))
    )
    rows = list(pair_table.build_same_patient_pairs(scans, 1))
    assert len(rows) == 3
    assert {row["kind"] for row in rows} == {"follow_up"}


def test_several_scans_of_unknown_contrast_in_a_visit_are_not_told_apart_and_not_paired(table: Table) -> None:
    scans = table(
        {"subject": "sub-1", "session": f"ses-{visit}", "contrast": "unknown", "id": f"sub-1_ses-{visit}_{run}"}
        for visit, run in ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3))
    )
    assert not list(pair_table.build_same_patient_pairs(scans, 1))


def test_one_scan_of_unknown_contrast_a_visit_is_a_time_line_and_may_be_labelled_as_unchanged(table: Table) -> None:
    scans = table(
        {"subject": "sub-1", "session": f"ses-{n}", "contrast": "unknown", "changed": label}
        for n, label in ((1, None), (2, 0), (3, 1))
    )
    assert kinds(list(pair_table.build_same_patient_pairs(scans, 1))) == {
        ("ses-1_unknown", "ses-2_unknown", "rescan"),
        ("ses-2_unknown", "ses-3_unknown", "changed"),
        ("ses-1_unknown", "ses-3_unknown", "changed"),
    }


def test_an_empty_catalogue_is_an_error_in_one_line(table: Table, place: Path) -> None:
    with pytest.raises(EmptyInputError, match="ingest"):
        pair_table.build_pair_table(table([{"subject": "sub-1"}]).iloc[:0], place, PairConfig())


def test_one_patient_with_one_scan_gives_an_empty_table(table: Table, place: Path) -> None:
    assert pair_table.build_pair_table(table([{"subject": "sub-1"}]), place, PairConfig()).empty


def drawn(table: pd.DataFrame) -> set[tuple[str, str, str, str]]:
    return set(zip(table.scan_a, table.scan_b, table.kind, table.split, strict=True))


def test_a_night_with_five_new_scans_leaves_nearly_all_pairs_as_they_were(
    cohort: Cohort, table: Table, place: Path
) -> None:
    scans = cohort(200, visits=2)
    before = drawn(pair_table.build_pair_table(scans, place, PairConfig()))
    new = table(
        {"subject": f"sub-{patient:03d}", "session": "ses-3", "scanner": "scanner-1", "protocol": "protocol-1"}
        for patient in range(5)
    )
    after = drawn(pair_table.build_pair_table(pd.concat([scans, new]), place, PairConfig()))
    of_new = {pair for pair in after if {pair[0], pair[1]} & set(new.id)}
    assert len(of_new) >= 5 * 3  # two of the patient's own, and one that the scan draws
    assert len(before - after) < 20
    assert len(after - before - of_new) < 5  # of patients whose number of own pairs went up


def test_pairs_follow_from_the_scans_however_these_came(cohort: Cohort, tmp_path: Path) -> None:
    everything = cohort(30)
    first = everything[everything.session != "ses-3"]
    pair_table.build_pair_table(first, tmp_path / "nightly.parquet", PairConfig())
    nightly = pair_table.build_pair_table(everything, tmp_path / "nightly.parquet", PairConfig())
    at_once = pair_table.build_pair_table(everything, tmp_path / "full.parquet", PairConfig())
    pd.testing.assert_frame_equal(nightly, at_once)
    assert (tmp_path / "nightly.parquet").read_bytes() == (tmp_path / "full.parquet").read_bytes()


def test_no_scan_is_drawn_much_more_often_than_others(cohort: Cohort, place: Path) -> None:
    table = pair_table.build_pair_table(cohort(200), place, PairConfig(negatives_per_positive=4))
    different = table[~table.kind.isin(SAME_PATIENT)]
    drawn = pd.concat([different.scan_a, different.scan_b]).value_counts()
    assert len(drawn) == 600
    assert drawn.max() < 3 * drawn.mean()


def test_patients_of_one_machine_are_not_paired_with_themselves(table: Table, place: Path) -> None:
    scans = table(
        {"subject": f"sub-{n}", "session": f"ses-{v}", "scanner": f"scanner-{n}"} for n in range(8) for v in (1, 2)
    )
    assert set(pair_table.build_pair_table(scans, place, PairConfig(hard_negative_share=1.0)).kind) <= set(SAME_PATIENT)


def test_a_patient_who_is_left_out_for_a_while_comes_back_to_the_same_split(cohort: Cohort, place: Path) -> None:
    scans = cohort(16)
    pair_table.build_pair_table(scans, place, PairConfig())
    before = patient_splits.read_known_splits(place)
    for subject in sorted(set(scans.subject)):
        pair_table.build_pair_table(scans[scans.subject != subject], place, PairConfig())
        pair_table.build_pair_table(scans, place, PairConfig())
    assert patient_splits.read_known_splits(place) == before


def test_splits_of_an_earlier_version_are_those_of_its_pair_table(cohort: Cohort, place: Path) -> None:
    table = pair_table.build_pair_table(cohort(16), place, PairConfig())
    place.with_name(patient_splits.SPLITS_FILE).unlink()
    assert patient_splits.read_known_splits(place) == dict(zip(table.subject_a, table.split, strict=True))


@pytest.mark.parametrize("content", ["{", '["sub-1"]', '{"sub-1": "both"}', '{"sub-1": []}'])
def test_damaged_splits_are_said_in_one_line(cohort: Cohort, place: Path, content: str) -> None:
    place.with_name(patient_splits.SPLITS_FILE).write_text(content)
    with pytest.raises(InputError, match="remove it"):
        pair_table.build_pair_table(cohort(4), place, PairConfig())


def test_a_scan_without_a_date_belongs_to_the_day_of_its_visit(table: Table, place: Path) -> None:
    scans = table(
        [
            {"subject": "sub-1", "session": "ses-1", "contrast": "T1w"},
            {"subject": "sub-1", "session": "ses-1", "date": None},
            {"subject": "sub-1", "session": "ses-2"},
        ]
    )
    pairs = pair_table.build_pair_table(scans, place, PairConfig())
    assert pairs[["scan_a", "scan_b"]].values.tolist() == [["sub-1_ses-1_FLAIR", "sub-1_ses-2_FLAIR"]]


def _lying(at_mm: tuple[float, float, float], step_mm: float = 4.0, slices: int = 8, **row: Any) -> dict[str, Any]:
    affine = np.diag([4.0, 4.0, step_mm, 1.0])
    affine[:3, 3] = at_mm
    given = {"subject": "sub-001", "date": "2021-03-04", "source": "dicom"}
    return {**given, "affine": affine.tolist(), "shape": [40, 40, slices], **row}


@pytest.mark.parametrize(
    ("second", "kinds"),
    [
        (_lying((3.0, -8.0, 2.0)), ["rescan"]),  # laid down again
        (_lying((0.0, 230.0, 0.0)), []),  # the next station of a spine
        (_lying((-200.0, 0.0, 0.0)), []),  # the other knee
        (_lying((-200.0, 0.0, 0.0), session="ses-2"), ["follow_up"]),  # in a study of its own
        (_lying((0.0, 230.0, 0.0), source="nifti"), ["follow_up"]),  # its coordinates may be lost
        (_lying((0.0, 0.0, 8.0), step_mm=2.0), ["rescan"]),  # fewer, all of them inside
    ],
)
def test_a_rescan_shows_the_same_place(table: Table, second: dict[str, Any], kinds: list[str]) -> None:
    rows = [{"id": str(n), "acquired": f"acquisition-{n}", **row} for n, row in enumerate((_lying((0, 0, 0)), second))]
    pairs = pair_table.build_same_patient_pairs(table(rows), 1)
    assert [pair["kind"] for pair in pairs] == kinds


@pytest.mark.parametrize(("modality", "kind"), [("CT", "follow_up"), ("PT", "follow_up"), ("MR", "rescan")])
def test_thin_and_thick_slices_of_one_ct_are_no_rescan(table: Table, modality: str, kind: str) -> None:
    """Each slice has a time of its own, so the first slices of two reconstructions of one acquisition differ in it."""
    thin, thick = _lying((0, 0, 0), 1.0, 24), _lying((0, 0, 1.0), 3.0, 8)
    rows = [{"id": str(n), "acquired": f"acquisition-{n}", **row} for n, row in enumerate((thin, thick))]
    pairs = pair_table.build_same_patient_pairs(table([{**row, "modality": modality} for row in rows]), 1)
    assert [pair["kind"] for pair in pairs] == [kind]


def test_images_that_are_no_weighting_are_in_no_pair(table: Table, place: Path) -> None:
    """Two field maps, or a field map and a map of permeability, may be called by the same word."""
    scans = table(
        {"subject": f"sub-{patient}", "session": f"ses-{visit}", "contrast": contrast}
        for patient in range(8)
        for visit in (1, 2)
        for contrast in ("other", "T1w")
    )
    pairs = pair_table.build_pair_table(scans, place, PairConfig())
    assert len(pairs)
    assert not pairs[["scan_a", "scan_b"]].stack().str.contains("other").any()


@pytest.mark.parametrize(
    ("protocols", "contrast", "changed", "expected"),
    [
        (("a", "a"), "T1w", None, PairKind.RESCAN),
        (("a", "b"), "T1w", None, PairKind.FOLLOW_UP),
        (("a", "b"), "T1w", 0, PairKind.RESCAN),  # the manifest says so
        (("unknown", "unknown"), "T1w", None, PairKind.RESCAN),
        (("a", "unknown"), "T1w", None, PairKind.FOLLOW_UP),
        (("a", "a"), "PET", None, PairKind.FOLLOW_UP),  # the tracer is not known
        (("a", "a"), "FDG", None, PairKind.RESCAN),
    ],
)
def test_another_protocol_of_the_next_day_is_a_follow_up(
    table: Table, protocols: tuple[str, str], contrast: str, changed: int | None, expected: PairKind
) -> None:
    days = ("2020-03-01", "2020-03-02")
    rows = [
        {"subject": "s", "session": f"ses-{n + 1}", "date": days[n], "protocol": protocols[n], "contrast": contrast}
        for n in range(2)
    ]
    rows[1]["changed"] = changed
    (pair,) = pair_table.build_same_patient_pairs(table(rows), 1)
    assert (pair["kind"], pair["interval_days"]) == (expected, 1)
