"""From a pseudonym back to the patient and the files, for those who hold the secret; nothing of it is written anywhere.

What comes back is hostile text: a PatientID may hold anything, so it is printed escaped.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from siamese_med.errors import CatalogueError, InputError, UsageError
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.ingestion.catalogue.inventory import format_series_label
from siamese_med.ingestion.inputs import ownership, sources
from siamese_med.ingestion.inputs.entries import make_entry
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms, load_pseudonyms
from siamese_med.ingestion.reasons import REASON_HINTS
from siamese_med.ingestion.scan_checks import WORD

if TYPE_CHECKING:
    from sqlalchemy import Connection

PATIENT_NAMES_WARNING = "this answer names patients: keep it away from logs, tickets and mail\n"
MIN_LABEL_CHARS = 10
"""Characters of a label that a page shows, and that must tell one from all others."""

NAMED_BY_TEXTS = {
    "dicom": "the DICOM header",
    "manifest": "the manifest",
    "bids": "the BIDS tree",
    "name": "the file's place in the input",
}

RevealedRow = Mapping[str, Any]


@dataclass
class _RevealedLabel:
    """What a label stands for: subjects, groups of files, the files among them, and a scan."""

    subjects: set[str]
    groups: dict[str, RevealedRow]
    files: Sequence[RevealedRow]
    scan: RevealedRow | None = None


class RevealedSeries(TypedDict):
    """A series with the counts of its files by reason."""

    series: str
    subjects: list[str]
    modality: str
    contrast: str
    files: dict[str, int]


class Revealed(TypedDict):
    """Who and what is behind a label; `scan` of a scan id, `files` and `contents_not_found` where an input is given."""

    label: str
    subjects: list[dict[str, str]]
    scan: NotRequired[dict[str, str | None]]
    series: list[RevealedSeries]
    files: NotRequired[list[dict[str, str]]]
    contents_not_found: NotRequired[int]


def reveal_label(label: str, url: str, secret_file: Path | None, source: Path | None = None) -> Revealed:
    """Who is behind a `sub-` label, scan id, `series-` label or reason word; with `source` also which files below it.

    Raises InputError for an unknown label, UsageError for an ambiguous one, SecretError and CatalogueError.
    """
    secret = load_pseudonyms(secret_file, make=False)
    with catalogue.open_catalogue(url, secret.label("catalogue")) as connection:
        found = _find(connection, label.strip().rstrip("…"))
        subjects, series = _subjects(connection, found.subjects, secret), _series(found)
        facts: Revealed = {"label": label, "subjects": subjects, "series": series}
        if found.scan:
            day = secret.unshifted(found.scan["date"], found.scan["subject"])
            scan = {"id": found.scan["id"], "date": day.isoformat() if day else None}
            facts = {"label": label, "subjects": subjects, "scan": scan, "series": series}
        if source is not None:
            facts["files"] = _paths(connection, found, source, secret)
            facts["contents_not_found"] = len(found.files) - len({one.pop("content") for one in facts["files"]})
        return facts


def _find(connection: Connection, label: str) -> _RevealedLabel:
    if label in REASON_HINTS or WORD.fullmatch(label):  # also the word of a check of the user's own
        files = catalogue.select_rows(connection, "file", "reason", [label])
        groups = _by_key(catalogue.select_rows(connection, "series", "key", {row["series"] for row in files}))
        found = _RevealedLabel(_subjects_of(groups), groups, files)
    elif label.startswith("sub-") and "_" in label:
        found = _scan(connection, label)
    elif label.startswith(("sub-", "series-")) and len(label) >= MIN_LABEL_CHARS:
        found = _by_prefix(connection, label)
    else:
        found = _RevealedLabel(set(), {}, [])
    if not found.files:
        raise InputError("nothing in this catalogue bears that label: give a subject, scan, series or reason of a page")
    return found


def _scan(connection: Connection, label: str) -> _RevealedLabel:
    scans = catalogue.select_rows(connection, "scan", "id", [label])
    files = catalogue.select_rows(connection, "file", "scan", [label])
    groups = _by_key(catalogue.select_rows(connection, "series", "key", {row["series"] for row in files}))
    return _RevealedLabel({row["subject"] for row in scans}, groups, files, scans[0] if scans else None)


def _by_prefix(connection: Connection, label: str) -> _RevealedLabel:
    rows = catalogue.select_rows(connection, "series")
    if label.startswith("series-"):
        chosen = [row for row in rows if f"series-{row['label']}".startswith(label)]
        meant = {row["label"] for row in chosen}
    else:
        chosen = [row for row in rows if any(subject.startswith(label) for subject in row["subjects"])]
        meant = {subject for row in chosen for subject in row["subjects"] if subject.startswith(label)}
    if len(meant) > 1:
        raise UsageError(f"{len(meant)} labels begin so: give the whole label, as the table file has it")
    groups = _by_key(chosen)
    subjects = meant if label.startswith("sub-") else _subjects_of(groups)
    return _RevealedLabel(subjects, groups, catalogue.select_rows(connection, "file", "series", groups))


def _by_key(rows: Iterable[RevealedRow]) -> dict[str, RevealedRow]:
    return {row["key"]: row for row in rows}


def _subjects_of(groups: Mapping[str, RevealedRow]) -> set[str]:
    return {subject for row in groups.values() for subject in row["subjects"]}


def _subjects(connection: Connection, subjects: set[str], secret: Pseudonyms) -> list[dict[str, str]]:
    sealed = {
        row["subject"]: row["sealed"] for row in catalogue.select_rows(connection, "subject", "subject", subjects)
    }
    if subjects - sealed.keys():
        raise CatalogueError("a subject of this catalogue has no sealed identifier: restore the catalogue")
    lines = []
    for subject in sorted(subjects):
        owner = ownership.unseal_owner(subject, sealed[subject], secret)
        named_by, _, issuer = owner.space.partition(" ")
        lines.append({"subject": subject, "patient_id": owner.patient, "issuer": issuer, "named_by": named_by})
    return lines


def _series(found: _RevealedLabel) -> list[RevealedSeries]:
    """One line a series, with the counts of its files by reason."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    rows: dict[str, RevealedRow] = {}
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


def _paths(connection: Connection, found: _RevealedLabel, source: Path, secret: Pseudonyms) -> list[dict[str, str]]:
    """Files below `source` whose path was seen with one of the contents; names are walked, no file is read."""
    entries = {entry.key: entry for entry in (make_entry(one, secret) for one in sources.collect_input_paths(source))}
    wanted = {(row["sha256"], row["claim"]): row for row in found.files}
    lines = []
    for seen in catalogue.select_rows(connection, "path", "key", entries):
        file = wanted.get((seen["sha256"], seen["claim"]))
        if file is not None:
            group = found.groups.get(file["series"])
            lines.append(
                {
                    "path": str(entries[seen["key"]].found.path),
                    "reason": file["reason"] or "ingested",
                    "series": format_series_label(group["label"]) if group else "",
                    "content": file["sha256"],
                }
            )
    return sorted(lines, key=lambda line: (line["series"], line["path"]))


def format_revealed_label(facts: Revealed) -> str:
    """The answer for a terminal, a block each for patients, scan, series and files; nothing in it moves a cursor."""
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


def _by(one: Mapping[str, str]) -> str:
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


def escape_for_terminal(text: str) -> str:
    """Text of which a terminal shows every character: control characters, direction marks and the like as escapes."""
    return "".join(
        one if one.isprintable() and one != "\\" else one.encode("unicode_escape").decode("ascii") for one in text
    )
