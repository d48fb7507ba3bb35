"""Which date a scan gets where several are told, and what is said where they contradict one another."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from siamese_med.ingestion.inputs.bids_labels import BidsLabels
from siamese_med.ingestion.inputs.bids_tables import BidsTree
from siamese_med.pairing.pair_table import build_same_patient_pairs
from tests.ingestion import bids_trees, exports
from tests.ingestion.conftest import Place

HEAD = "filename\tacq_time\n"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (("ses-1/anat/sub-01_T1w.nii.gz\t2020-03-04", "ses-2/anat/sub-01_T1w.nii.gz\t2021-03-04"), [2020, 2021]),
        (("./ses-2/anat/sub-01_T1w.nii.gz\t2021-03-04", "ses-1\\anat\\sub-01_T1w.nii.gz\t2020-03-04"), [2020, 2021]),
        (("sub-01/ses-1/anat/sub-01_T1w.nii.gz\t2020-03-04",), [2020, None]),  # below the data set
        (("ses-1/anat/sub-01_T1w.nii.gz\t2020-03-04",), [2020, None]),  # of the other session nothing is told
        (("sub-01_T1w.nii.gz\t2020-03-04", "sub-01_T1w.nii.gz\t2021-03-04"), [None, None]),
        (("sub-01_T1w.nii.gz\t2020-03-04",), [2020, 2020]),
    ],
)
def test_a_row_of_a_table_is_that_of_a_path(tmp_path: Path, rows: tuple[str, ...], expected: list[int | None]) -> None:
    folder = tmp_path / "sub-01"
    folder.mkdir()
    (folder / "sub-01_scans.tsv").write_text(HEAD + "\n".join(rows) + "\n")
    paths = [folder / f"ses-{n}" / "anat" / "sub-01_T1w.nii.gz" for n in (1, 2)]
    days = [BidsTree(tmp_path).date(path, BidsLabels("01", f"{n + 1}")) for n, path in enumerate(paths)]
    assert [day and day.year for day in days] == expected


def _visit(folder: Path, number: int, **tags: str) -> None:
    told = {"StudyDate": "20210304", "AcquisitionTime": f"1{number}1500", **tags}
    exports.write(folder / str(number), exports.series("4711", number, **told))


def _intervals(scans: pd.DataFrame) -> list[tuple[str, int | None]]:
    return [(row["kind"], row["interval_days"]) for row in build_same_patient_pairs(scans, 1)]


def _conflicts(scans: pd.DataFrame) -> list[bool]:
    return ["date_conflict" in flags for flags in scans["flags"]]


@pytest.mark.parametrize(
    ("visits", "expected"),
    [
        # the study's date is that of an order or an upload
        ([{"AcquisitionDate": "20210304"}, {"AcquisitionDate": "20210325"}], ("follow_up", 21)),
        ([{"AcquisitionDate": "20210220"}, {"AcquisitionDate": "20210302"}], ("follow_up", 10)),
        ([{"SeriesDate": "20210304"}, {"SeriesDate": "20210325"}], ("follow_up", 21)),
        # past midnight
        ([{"AcquisitionDate": "20210304"}, {"AcquisitionDate": "20210305"}], ("rescan", 0)),
        # a derived series was worked out on another day
        ([{}, {"SeriesDate": "20210325", "ImageType": "DERIVED\\SECONDARY"}], ("rescan", 0)),
        # one acquisition date in studies of several dates: nothing tells which is right
        (
            [{"AcquisitionDate": "20210301", "StudyDate": f"202103{day}"} for day in (10, 20)],
            ("follow_up", None),
        ),
    ],
)
def test_dates_of_study_and_acquisition_that_lie_days_apart(
    place: Place, tmp_path: Path, visits: list[dict[str, str]], expected: tuple[str, int | None]
) -> None:
    for number, tags in enumerate(visits):
        _visit(tmp_path / "in", number, **tags)
    scans = place.ingest(tmp_path / "in").scans
    assert _intervals(scans) == [expected]
    assert _conflicts(scans) == [expected[1] is None] * 2


def test_an_open_study_is_a_visit_for_each_day(place: Place, tmp_path: Path) -> None:
    for number, day in enumerate(("20210304", "20210325")):
        _visit(tmp_path / "in", number, StudyInstanceUID="1.2.3", AcquisitionDate=day)
    scans = place.ingest(tmp_path / "in").scans
    assert sorted(scans["session"]) == ["ses-01", "ses-02"]
    assert _intervals(scans) == [("follow_up", 21)]


def _bids(folder: Path, table: str, days: tuple[str, ...]) -> Path:
    """A data set with a visit for each day in JSON (none where it is empty), and a table of sessions."""
    subject = folder / "sub-01"
    for number, day in enumerate(days, 1):
        path = bids_trees.scan(subject / f"ses-{number}" / "anat" / f"sub-01_ses-{number}_T1w.nii.gz")
        if day:
            path.with_name(f"sub-01_ses-{number}_T1w.json").write_text(f'{{"AcquisitionDate": "{day}"}}')
    (subject / "sub-01_sessions.tsv").write_text("session_id\tacq_time\n" + table)
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    return folder


@pytest.mark.parametrize(
    ("table", "days", "expected"),
    [
        ("ses-1\t1925-03-04\n", ("20200304", "20210304"), None),  # shifted for one visit alone
        ("ses-1\t2020-03-04\n", ("", "20210304"), None),  # nothing tells that both are true
        ("ses-1\t2020-03-04\nses-2\t2020-03-11\n", ("20200304", "20210304"), None),  # they contradict each other
        ("ses-1\t2020-03-04\n", ("20200304", "20210304"), 365),  # they agree where both are known
        ("ses-1\t1925-03-04\nses-2\t1926-03-04\n", ("20200304", "20210304"), 365),  # all shifted alike
        ("ses-1\t1925-03-04\nses-2\t2021-03-04\n", ("", ""), None),  # a life apart
        ("ses-1\t2020-03-04\nses-2\t2021-03-04\n", ("", ""), 365),
    ],
)
def test_sources_of_dates_are_not_mixed(
    place: Place, tmp_path: Path, table: str, days: tuple[str, ...], expected: int | None
) -> None:
    scans = place.ingest(_bids(tmp_path / "in", table, days)).scans
    assert _intervals(scans) == [("follow_up", expected)]
    assert _conflicts(scans) == [expected is None] * 2


def test_a_manifest_may_correct_the_headers(place: Place, tmp_path: Path) -> None:
    for number in range(2):
        _visit(tmp_path / "in", number)
    rows = "A,1,in/0,2020-03-04\nA,2,in/1,2020-03-24\n"
    (tmp_path / "m.csv").write_text("subject,session,path,date\n" + rows)
    assert _intervals(place.ingest(tmp_path / "m.csv").scans) == [("follow_up", 20)]


def test_a_manifest_that_dates_one_visit_alone(place: Place, tmp_path: Path) -> None:
    for number in range(2):
        _visit(tmp_path / "in", number, StudyDate=f"201{number}0304")
    rows = "A,1,in/0,2020-03-04\nA,2,in/1,\n"
    (tmp_path / "m.csv").write_text("subject,session,path,date\n" + rows)
    assert _conflicts(place.ingest(tmp_path / "m.csv").scans) == [True, True]


@pytest.mark.parametrize(("day", "said"), [("2021-03-04", True), ("2020-04-04", False)])
def test_one_session_label_for_dates_far_apart(place: Place, tmp_path: Path, day: str, said: bool) -> None:
    for number in range(2):
        _visit(tmp_path / "in", number)
    rows = f"A,MR,in/0,2020-03-04\nA,MR,in/1,{day}\n"
    (tmp_path / "m.csv").write_text("subject,session,path,date\n" + rows)
    scans = place.ingest(tmp_path / "m.csv").scans
    assert sum(_conflicts(scans)) == 2 * said
