"""Format a short Markdown summary of a run, for the Prefect artifact."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING

from siamese_med.reporting import formatting
from siamese_med.reporting.data import verdicts
from siamese_med.reporting.data.wrong_patient_alarms import ALARM_ADVICE
from siamese_med.reporting.write.pair_export import MISSING_VALUE
from siamese_med.study import table_cells
from siamese_med.study.contrasts import join_contrasts
from siamese_med.study.vocabulary import SAME_PATIENT, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from siamese_med.study.tables import IngestAccount

MAX_ALARMS_LISTED = 20
"""Patients that the summary lists; the index page has them all."""


def render_run_summary(scores: pd.DataFrame, account: IngestAccount, index: Path, url: str | None = None) -> str:
    """Render the summary of a run: files by outcome, pairs by verdict, and the patients to be looked at.

    Parameters
    ----------
    scores
        The score table.
    account
        What became of every file that was ingested.
    index
        Index page that `write_reports` returned; cohort.tsv is read from the same folder.
    url
        Address under which that folder is served. Without it the names of patients are no links, since browsers do not
        follow links from a web page to local files.
    """
    parts = (_heading(index, url), _intake(account), _pairs(scores), _alarms(_patients(index), url))
    return "\n\n".join(parts) + "\n"


def _heading(index: Path, url: str | None) -> str:
    pages = _link("all pages", url, index.name) if url else f"The pages: `{index.parent.name}/{index.name}`"
    return f"# Change report\n\nResearch use only. {pages}"


def _link(text: str, url: str, page: str) -> str:
    return f"[{text}]({url.rstrip('/')}/{page})"


def _intake(account: IngestAccount) -> str:
    return (
        f"{account.files_seen} files seen = {account.ingested} ingested + {account.skipped} skipped "
        f"+ {account.duplicate} duplicate + {account.quarantined} quarantined."
    )


def _pairs(scores: pd.DataFrame) -> str:
    verdict_of = scores[scores["kind"].isin(SAME_PATIENT)]["verdict"]
    found = Counter(table_cells.parse_text(verdict) or Verdict.NOT_COMPARABLE for verdict in verdict_of)
    named = (f"{found[key]} {status.label.lower()}" for key, status in verdicts.STATUSES.items() if found[key])
    return f"{sum(found.values())} pairs of one patient: {', '.join(named) or 'none'}."


def _patients(index: Path) -> list[dict[str, str]]:
    """The rows of cohort.tsv, so that the summary and the index page agree."""
    with (index.parent / "cohort.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, dialect="excel-tab"))


def _alarms(patients: list[dict[str, str]], url: str | None) -> str:
    alarms = [patient for patient in patients if any(verdicts.STATUSES[word].alarm for word in _words(patient))]
    if not alarms:
        return f"None of {len(patients)} patients needs a look."
    lines = [
        f"{len(alarms)} of {len(patients)} patients need a look:",
        "",
        "| Patient | Verdict | z | Volume (ml) | Lowest similarity |",
        "|---|---|---:|---:|---:|",
        *(_line(patient, url) for patient in alarms[:MAX_ALARMS_LISTED]),
    ]
    if len(alarms) > MAX_ALARMS_LISTED:
        lines.append(f"\nand {len(alarms) - MAX_ALARMS_LISTED} more on the index page.")
    if misfiled := sum(int(patient["alarms"]) for patient in patients):
        look = "scan looks" if misfiled == 1 else "scans look"
        lines.append(f"\n{misfiled} {look} like another patient's. {ALARM_ADVICE}")
    return "\n".join(lines)


def _words(patient: dict[str, str]) -> tuple[str, ...]:
    """Keys of verdicts.STATUSES, as in `CohortRow.words`."""
    return (patient["status"], verdicts.SCAN_FILED_ELSEWHERE) if int(patient["claimed"]) else (patient["status"],)


def _labels(patient: dict[str, str]) -> list[str]:
    """The words of a patient, the verdict with the contrasts that have it."""
    contrasts = patient["contrasts"]
    verdict, *others = (verdicts.STATUSES[word].label for word in _words(patient))
    return [verdict if contrasts == MISSING_VALUE else f"{verdict} in {join_contrasts(contrasts.split(','))}", *others]


def _line(patient: dict[str, str], url: str | None) -> str:
    name = formatting.short(patient["subject"])
    fields = (
        _link(name, url, f"{patient['subject']}/report.html") if url else name,
        ", ".join(_labels(patient)),
        formatting.fixed(patient["change_z"], 1),
        formatting.fixed(patient["change_ml"], 2),
        formatting.probability(patient["lowest_similarity"]),
    )
    return f"| {' | '.join(fields)} |"
