"""One CSV over all patients."""

from __future__ import annotations

import csv
import io
import json
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
import pytest

from siamese_med.errors import EmptyInputError, InputError
from siamese_med.reporting.write import pair_export
from tests.commands import siamese_med
from tests.reporting.conftest import Inputs


def test_the_table_holds_every_pair_of_every_report_with_the_same_values(written: Inputs) -> None:
    text, facts = pair_export.collect_pairs_csv(written.reports)
    rows = list(csv.DictReader(io.StringIO(text)))
    expected = [
        (path.parent.name, pair)
        for path in sorted(written.reports.glob("sub-*/report.json"))
        for pair in json.loads(path.read_text(encoding="utf-8"))["pairs"]
    ]
    assert len(rows) == len(expected) == facts["pairs"] > 5
    assert facts["patients"] == len(list(written.reports.glob("sub-*/report.json")))
    for row, (subject, pair) in zip(rows, expected, strict=True):
        assert (row["subject"], row["earlier"], row["verdict"]) == (subject, pair["earlier"], pair["verdict"])
        assert row["change_z"] == ("" if pair["change_z"] is None else str(pair["change_z"]))


def test_pandas_reads_numbers_as_numbers(written: Inputs) -> None:
    frame = pd.read_csv(io.StringIO(pair_export.collect_pairs_csv(written.reports)[0]))
    assert frame.change_z.dtype.kind == frame.similarity.dtype.kind == "f"
    assert frame.change_z.isna().any()


def test_the_command_prints_or_writes_the_same_table(written: Inputs, tmp_path: Path) -> None:
    printed = siamese_med("export", "--reports", str(written.reports), cwd=tmp_path)
    told = siamese_med("export", "--reports", str(written.reports), "--output", "all.csv", "--json", cwd=tmp_path)
    assert printed.returncode == told.returncode == 0
    assert printed.stdout.strip() == (tmp_path / "all.csv").read_text(encoding="utf-8").strip()
    assert json.loads(told.stdout)["file"] == "all.csv"


def test_without_reports_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmptyInputError, match="siamese-med report"):
        pair_export.collect_pairs_csv(tmp_path)
    assert siamese_med("export", cwd=tmp_path).returncode == 3


def test_reports_of_another_version_are_told_to_be_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "sub-1"
    folder.mkdir()
    (folder / "pairs.tsv").write_text("verdict\tbygone\nchanged\t1\n")
    with pytest.raises(InputError, match="run `siamese-med report` again"):
        pair_export.collect_pairs_csv(tmp_path)


def test_bids_ignores_every_table_of_a_patients_folder(written: Inputs) -> None:
    ignored = (written.reports / ".bidsignore").read_text(encoding="utf-8").split()
    names = {path.name for path in written.reports.glob("sub-*/*") if path.is_file()} | {"lesions.tsv"}
    assert all(any(fnmatch(name, pattern) for pattern in ignored) for name in names)
