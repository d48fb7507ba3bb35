"""One table over everything: the pairs of all patients, as they stand in the reports."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from siamese_med.errors import EmptyInputError
from siamese_med.reporting.write.json_tsv import pair_columns

MISSING_VALUE = "n/a"
"""In the patients' tables, as BIDS wants it; in the CSV the field is empty, as spreadsheets and data frames want it."""


def collect_pairs_csv(reports: Path) -> tuple[str, dict[str, Any]]:
    """All pairs as CSV (RFC 4180 but for its line ends), and how many patients and pairs there are.

    The columns are `subject` and those of pairs.tsv. Raises EmptyInputError where no report lies.
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
            writer.writerow(
                {"subject": path.parent.name} | {name: "" if v == MISSING_VALUE else v for name, v in row.items()}
            )
            pairs += 1
    return buffer.getvalue(), {"patients": len(found), "pairs": pairs}
