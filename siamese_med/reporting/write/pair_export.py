"""Collect the pairs of all patients from the reports in one table."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from siamese_med.errors import EmptyInputError, InputError
from siamese_med.reporting.write.json_tsv import pair_columns

MISSING_VALUE = "n/a"
"""A missing value in pairs.tsv, as BIDS requires; in the CSV the field is empty, as spreadsheets and pandas expect."""


def collect_pairs_csv(reports: Path) -> tuple[str, dict[str, int]]:
    """Collect all pairs as CSV, with the columns `subject` and those of pairs.tsv.

    Returns
    -------
    str
        CSV by RFC 4180 except that lines end in a line feed; a missing value is an empty field.
    dict
        The numbers of `patients` and `pairs`.

    Raises
    ------
    EmptyInputError
        There is no report below `reports`.
    InputError
        A report was written by another version, with other columns.
    """
    found = sorted(reports.glob("sub-*/pairs.tsv"))
    if not found:
        raise EmptyInputError("no reports below --reports: run `siamese-med report` first")
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ("subject", *pair_columns()), lineterminator="\n", restval="", extrasaction="raise")
    writer.writeheader()
    pairs = 0
    for path in found:
        for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), dialect="excel-tab"):
            if not row.keys() <= pair_columns().keys():
                raise InputError(f"{path.parent.name}/pairs.tsv is of another version: run `siamese-med report` again")
            writer.writerow(
                {"subject": path.parent.name} | {name: "" if v == MISSING_VALUE else v for name, v in row.items()}
            )
            pairs += 1
    return buffer.getvalue(), {"patients": len(found), "pairs": pairs}
