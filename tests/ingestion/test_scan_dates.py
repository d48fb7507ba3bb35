"""Which date a scan gets where several are told, and what is said where they contradict one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from siamese_med.ingestion.inputs.bids_labels import BidsLabels
from siamese_med.ingestion.inputs.bids_tables import BidsTree

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
