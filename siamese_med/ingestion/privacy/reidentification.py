"""From a pseudonym back to the patient and the files, for holders of the secret; the answer is not stored anywhere.

Identifiers are hostile text: a PatientID may hold anything, so it is printed with escapes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import CatalogueError, InputError, UsageError
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.ingestion.catalogue.inventory import format_series_label
from siamese_med.ingestion.catalogue.rows import (
    FILE_TABLE,
    META_TABLE,
    PATH_TABLE,
    SCAN_TABLE,
    SERIES_TABLE,
    SUBJECT_TABLE,
    FileRow,
    ScanRow,
    SeriesRow,
)
from siamese_med.ingestion.catalogue.tables import fetch_rows
from siamese_med.ingestion.inputs import ownership, sources
from siamese_med.ingestion.inputs.entries import make_entry
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms, load_pseudonyms
from siamese_med.ingestion.privacy.revealed_facts import (
    RevealedFacts,
    RevealedFile,
    RevealedScan,
    RevealedSeries,
    RevealedSubject,
)
from siamese_med.ingestion.reasons import REASON_HINTS
from siamese_med.ingestion.scan_checks import WORD
from siamese_med.runtime.terminal_text import escape_for_terminal

if TYPE_CHECKING:
    from sqlalchemy import Connection

PATIENT_NAMES_WARNING = "this answer names patients: keep it away from logs, tickets and mail\n"
"""Printed with every answer, on standard error."""

MIN_LABEL_CHARS = 10
"""Shortest label that is looked up; shorter ones would not tell patients apart."""

NAMED_BY_TEXTS = {
    "dicom": "the DICOM header",
    "manifest": "the manifest",
    "bids": "the BIDS tree",
    "name": "the file's place in the input",
}
"""Texts that say what named the patient, by the first word of the owner's name space."""


@dataclass
class _RevealedLabel:
    """Records that a label stands for: subjects, groups of files, the files among them, and a scan."""

    subjects: set[str]
    groups: dict[str, SeriesRow]
    files: Sequence[FileRow]
    scan: ScanRow | None = None


def reveal_label(label: str, url: str, secret_file: Path | None, source: Path | None = None) -> RevealedFacts:
    """Find the patients and series behind a label of a page.

    Parameters
    ----------
    label
        A `sub-` or `series-` label (its beginning suffices), a scan id, or a reason word.
    url
        SQLAlchemy URL of the catalogue.
    secret_file
        The pseudonym secret, or None for the default one; never created here.
    source
        The input; if given, also list the files below it. No file is read.

    Raises
    ------
    InputError
        The label is unknown.
    UsageError
        It is the beginning of several labels.
    SecretError, CatalogueError
        The secret is missing or another one, or an identifier was changed.
    """
    secret = load_pseudonyms(secret_file, make=False)
    with catalogue.open_catalogue(url, secret.label("catalogue")) as connection:
        known = {row["key"]: row["value"] for row in fetch_rows(connection, META_TABLE)}
        secret = replace(secret, dates_in_past=catalogue.are_dates_in_past(known))
        found = _find(connection, label.strip().rstrip("…"))
        subjects = _subjects(connection, found.subjects, secret)
        facts: RevealedFacts
        if found.scan:
            day = secret.unshifted(found.scan["date"], found.scan["subject"])
            scan: RevealedScan = {"id": found.scan["id"], "date": day.isoformat() if day else None}
            facts = {"label": label, "subjects": subjects, "scan": scan, "series": _series(found)}
        else:
            facts = {"label": label, "subjects": subjects, "series": _series(found)}
        if source is not None:
            facts["files"], contents = _paths(connection, found, source, secret)
            facts["contents_not_found"] = len(found.files) - contents
        return facts


def _find(connection: Connection, label: str) -> _RevealedLabel:
    if label in REASON_HINTS or WORD.fullmatch(label):  # also the word of a check of the user's own
        files = catalogue.select_rows(connection, FILE_TABLE, "reason", [label])
        groups = _by_key(catalogue.select_rows(connection, SERIES_TABLE, "key", {row["series"] for row in files}))
        found = _RevealedLabel(_subjects_of(groups), groups, files)
    elif label.startswith("sub-") and "_" in label:
        found = _scan(connection, label)
    elif label.startswith(("sub-", "series-")) and len(label) >= MIN_LABEL_CHARS:
        found = _by_prefix(connection, label)
    else:
        found = _RevealedLabel(set(), {}, [])
    if not found.files:
        raise InputError("nothing in this catalogue has that label: give a subject, scan, series or reason of a page")
    return found


def _scan(connection: Connection, label: str) -> _RevealedLabel:
    scans = catalogue.select_rows(connection, SCAN_TABLE, "id", [label])
    files = catalogue.select_rows(connection, FILE_TABLE, "scan", [label])
    groups = _by_key(catalogue.select_rows(connection, SERIES_TABLE, "key", {row["series"] for row in files}))
    return _RevealedLabel({row["subject"] for row in scans}, groups, files, scans[0] if scans else None)


def _by_prefix(connection: Connection, label: str) -> _RevealedLabel:
    rows = catalogue.select_rows(connection, SERIES_TABLE)
    if label.startswith("series-"):
        chosen = [row for row in rows if f"series-{row['label']}".startswith(label)]
        meant = {row["label"] for row in chosen}
    else:
        chosen = [row for row in rows if any(subject.startswith(label) for subject in row["subjects"])]
        meant = {subject for row in chosen for subject in row["subjects"] if subject.startswith(label)}
    if len(meant) > 1:
        raise UsageError(f"{len(meant)} labels begin like this: give the whole label, as in the table file")
    groups = _by_key(chosen)
    subjects = meant if label.startswith("sub-") else _subjects_of(groups)
    return _RevealedLabel(subjects, groups, catalogue.select_rows(connection, FILE_TABLE, "series", groups))


def _by_key(rows: Iterable[SeriesRow]) -> dict[str, SeriesRow]:
    return {row["key"]: row for row in rows}


def _subjects_of(groups: Mapping[str, SeriesRow]) -> set[str]:
    return {subject for row in groups.values() for subject in row["subjects"]}


def _subjects(connection: Connection, subjects: set[str], secret: Pseudonyms) -> list[RevealedSubject]:
    sealed = {
        row["subject"]: row["sealed"] for row in catalogue.select_rows(connection, SUBJECT_TABLE, "subject", subjects)
    }
    if subjects - sealed.keys():
        raise CatalogueError("a subject of this catalogue has no sealed identifier: restore the catalogue")
    lines: list[RevealedSubject] = []
    for subject in sorted(subjects):
        owner = ownership.unseal_owner(subject, sealed[subject], secret)
        named_by, _, issuer = owner.space.partition(" ")
        lines.append({"subject": subject, "patient_id": owner.patient, "issuer": issuer, "named_by": named_by})
    return lines


def _series(found: _RevealedLabel) -> list[RevealedSeries]:
    """Make one entry per series, with the counts of its files by reason."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    rows: dict[str, SeriesRow] = {}
    for file in found.files:
        row = found.groups.get(file["series"])
        if row is not None and (row["subjects"] or row["source"]):
            counts[row["label"]].update([file["reason"] or "ingested"])
            rows.setdefault(row["label"], row)
    return [
        {
            "series": format_series_label(label),
            "subjects": list(rows[label]["subjects"]),
            "modality": rows[label]["modality"],
            "contrast": rows[label]["contrast"],
            "files": dict(sorted(counts[label].items())),
        }
        for label in sorted(rows)
    ]


def _paths(
    connection: Connection, found: _RevealedLabel, source: Path, secret: Pseudonyms
) -> tuple[list[RevealedFile], int]:
    """List files below `source` that an earlier run saw with one of the contents, and count these contents.

    Only names are compared; no file is read.
    """
    entries = {entry.key: entry for entry in (make_entry(one, secret) for one in sources.collect_input_paths(source))}
    wanted = {(row["sha256"], row["claim"]): row for row in found.files}
    lines: list[RevealedFile] = []
    contents: set[str] = set()
    for seen in catalogue.select_rows(connection, PATH_TABLE, "key", entries):
        file = wanted.get((seen["sha256"], seen["claim"]))
        if file is not None:
            contents.add(file["sha256"])
            group = found.groups.get(file["series"])
            lines.append(
                {
                    "path": str(entries[seen["key"]].found.path),
                    "reason": file["reason"] or "ingested",
                    "series": format_series_label(group["label"]) if group else "",
                }
            )
    return sorted(lines, key=lambda line: (line["series"], line["path"])), len(contents)


def format_revealed_label(facts: RevealedFacts) -> str:
    """Format an answer for a terminal: a block each for patients, scan, series and files.

    Control characters are escaped, so that a hostile identifier cannot move the cursor.
    """
    blocks = [
        _columns(
            [(one["subject"], f'"{escape_for_terminal(one["patient_id"])}"', _by(one)) for one in facts["subjects"]]
        )
    ]
    if scan := facts.get("scan"):
        blocks.append(f"{scan['id']}  {scan['date'] or 'no date known'}")
    blocks.append(_columns([_series_line(one) for one in facts["series"]]))
    if "files" in facts:
        blocks.append(
            _columns([(one["reason"], one["series"], escape_for_terminal(one["path"])) for one in facts["files"]])
        )
        if missing := facts["contents_not_found"]:
            blocks.append(f"{missing} more were seen elsewhere, or are no longer there")
    return "\n\n".join(block for block in blocks if block)


def _by(one: RevealedSubject) -> str:
    return (
        f'issuer "{escape_for_terminal(one["issuer"])}"'
        if one["issuer"]
        else f"named by {NAMED_BY_TEXTS[one['named_by']]}"
    )


def _series_line(one: RevealedSeries) -> tuple[str, ...]:
    files = ", ".join(f"{count} {reason}" for reason, count in one["files"].items())
    return one["series"], f"{one['modality']} {one['contrast']}", files


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
