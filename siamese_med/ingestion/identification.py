"""Identity of a file's content: known from an earlier run, a copy, or new; and its owner, where two inputs disagree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from siamese_med.ingestion import verdict_rules
from siamese_med.ingestion.catalogue.rows import PATH_TABLE, SERIES_TABLE, SeriesRow
from siamese_med.ingestion.catalogue.tables import ContentUnit, is_unread_unit
from siamese_med.ingestion.inputs.bids_metadata import NIFTI_ENDINGS
from siamese_med.ingestion.inputs.entries import InputEntry, compute_entry_claim_key, compute_group_key
from siamese_med.ingestion.inputs.ownership import identify_entry_owner
from siamese_med.ingestion.reasons import PATH_REASONS, UNOPENED_REASONS
from siamese_med.ingestion.run_state import IngestRun

UNLISTED_REASONS = ("unlisted_folder", "timed_out")
"""Reasons of folders whose files may still be there although they were not listed."""

PATIENT_CONFLICT_REASON = "patient_conflict"
"""Reason word for one content under two patients."""


def recognise_unchanged_files(run: IngestRun, by_content: bool) -> None:
    """Give entries that did not change since an earlier run their unit, without opening them.

    A file is unchanged where path, size, modification time and inode are the same, its earlier outcome still stands,
    and the input claims the same about it.

    Parameters
    ----------
    run
        The run, with the known paths loaded.
    by_content
        Recognise none, so that all files are read and hashed again.
    """
    run.load_fates("sha256", {place.unit[0] for place in run.paths.values()})
    for entry in [] if by_content else run.entries:
        place = run.paths.get(entry.key)
        if place is None or place.stat != entry.stat or place.unit not in run.usable:
            continue
        if _same_word(run, entry) and _same_claim(run, entry):
            entry.unit = place.unit


def _same_claim(run: IngestRun, entry: InputEntry) -> bool:
    known = run.paths[entry.key].unit[1]
    return not entry.found.listed if not known else known == compute_entry_claim_key(entry, run.secret)


def _same_word(run: IngestRun, entry: InputEntry) -> bool:
    """Tell whether the path decides as before; a dataset description may have been added next to the file."""
    unit = run.paths[entry.key].unit
    word, before = entry.found.reason, run.fates[unit].reason
    if before in PATH_REASONS:
        marks = before == "lesion_mask" and not word and not entry.found.path.name.lower().endswith(NIFTI_ENDINGS)
        return word == before or marks  # a DICOM Segmentation is a mask by its content
    return not (unit[1] and run.fates[unit].scan and word in PATH_REASONS)


def identify_contents(run: IngestRun) -> None:
    """Give every inspected entry its unit (content and claim).

    A content that is claimed for two patients gets the reason `patient_conflict` and is ingested for neither. Fills
    `run.kept` with units whose files cannot be read now and whose content is known from before.
    """
    run.load_fates("sha256", {entry.look.sha256 for entry in run.entries if entry.look})
    claims: dict[str, list[str]] = defaultdict(list)
    for digest, claim in run.fates:
        claims[digest].append(claim)
    headers = {entry.look.voxels: entry for entry in run.entries if entry.look and entry.look.voxels}
    by_content: dict[str, list[InputEntry]] = defaultdict(list)
    given: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for entry in run.entries:
        if entry.unit is not None and entry.unit[1]:
            given[entry.unit[0]].add(_person(entry))
        if entry.look is not None and entry.unit is None:
            header = headers.get(str(entry.found.path), entry) if headers else entry
            entry.follows = header if header is not entry else None
            by_content[entry.look.sha256 or run.secret.label("unreadable", entry.key)].append(entry)
    for digest, entries in by_content.items():
        _identify_copies(run, digest, entries, claims.get(digest, []), given.get(digest, set()))
    run.kept = {entry.known for entry in run.entries if _keeps_content(run, entry)}


def _keeps_content(run: IngestRun, entry: InputEntry) -> bool:
    """Tell whether a file that cannot be read now was read before; its known content then stands."""
    place = run.paths.get(entry.key)
    if place is None or entry.look is None or not is_unread_unit(entry.known):
        return False
    closed = verdict_rules.is_machine_reason(entry.look.reason) or entry.look.reason in UNOPENED_REASONS
    return closed and not is_unread_unit(place.unit) and place.unit in run.fates


def find_resolved_contents(run: IngestRun) -> set[str]:
    """Return the hashes that stood for files of unknown content whose content is known now.

    Their rows in the catalogue are deleted when the paths of this run are written.
    """
    before = {run.paths[entry.key].unit for entry in run.entries if entry.look is not None and entry.key in run.paths}
    return {unit[0] for unit in before - {entry.known for entry in run.entries} if is_unread_unit(unit)}


def find_replaced_units(run: IngestRun) -> set[ContentUnit]:
    """Return the units that a new version replaced at their path, and that lie nowhere else.

    A file that cannot be read now replaces nothing, and neither does a DICOM image of another visit: an inbox in which
    names are used again holds other patients, whose earlier scans stay like those of deleted files. Other inputs of the
    catalogue are searched too.
    """
    looked = {
        entry.key: entry
        for entry in run.entries
        if entry.look is not None and entry.key in run.paths and entry.known not in run.kept
    }
    before = {unit: entry for key, entry in looked.items() if not is_unread_unit(unit := run.paths[key].unit)}
    present = {entry.known for entry in run.entries}
    gone = {unit: entry for unit, entry in before.items() if unit in run.fates and unit not in present}
    old = {run.fates[unit].series for unit, entry in gone.items() if entry.look and entry.look.instance}
    visits = {row["key"]: row for row in run.catalogue.rows(SERIES_TABLE, "key", old)}
    replaced = {unit for unit, entry in gone.items() if _is_new_version(run, entry, unit, visits)}
    elsewhere = run.catalogue.rows(PATH_TABLE, "sha256", {digest for digest, _ in replaced})
    return replaced - {(row["sha256"], row["claim"]) for row in elsewhere if row["key"] not in looked}


def was_listed_whole(run: IngestRun) -> bool:
    """Tell whether every file of the input was listed, so that a known one that is not among them is gone."""
    return not any(entry.look and entry.look.reason in UNLISTED_REASONS for entry in run.entries)


def find_renamed_units(run: IngestRun, source: Path) -> set[ContentUnit]:
    """Return the units of images whose file was moved or renamed within the input, so that it names another patient.

    The file at its new place is a scan of the patient whom it names there; the scan of the one before goes.
    """
    moved = {
        entry.known[0]: entry.known
        for entry in run.entries
        if entry.look is not None and entry.look.voxels and not entry.found.listed and entry.known not in run.fates
    }
    before = {unit for unit in run.fates if unit[0] in moved and unit[1] and run.fates[unit].scan}
    if not before or not was_listed_whole(run):
        return set()
    label, present = run.secret.label("input", source.absolute()), {entry.key for entry in run.entries}
    places: dict[ContentUnit, list[bool]] = defaultdict(list)
    for row in run.catalogue.rows(PATH_TABLE, "sha256", {digest for digest, _ in before}):
        places[row["sha256"], row["claim"]].append(row["input"] == label and row["key"] not in present)
    return {unit for unit in before if places[unit] and all(places[unit])}


def _is_new_version(run: IngestRun, entry: InputEntry, before: ContentUnit, visits: Mapping[str, SeriesRow]) -> bool:
    """Tell whether a DICOM file that took the place of another is of its series, or of its patient and day.

    Of any other file the place says that it is, and an unchanged file may be claimed for another patient.
    """
    one, row = entry.look and entry.look.instance, visits.get(run.fates[before].series)
    if not one or row is None or entry.known[0] == before[0] or compute_group_key(entry, run.secret) == row["key"]:
        return True
    owner = identify_entry_owner(entry, one)
    subject = owner.subject(run.secret) if owner else ""
    return subject in row["subjects"] and run.secret.shifted(one.day, subject) == row["date"] is not None


def _identify_copies(
    run: IngestRun, digest: str, entries: list[InputEntry], known: list[str], given: set[tuple[str, str]]
) -> None:
    """Give equal contents one unit; `known` has their claims in the catalogue, `given` subjects of unchanged files."""
    usable = [entry for entry in entries if entry.look and (entry.look.packed or entry.look.voxels)]
    claimed = [entry for entry in usable if _claimed(entry)]
    contested = [claim for claim in known if run.fates[digest, claim].reason == PATIENT_CONFLICT_REASON]
    in_conflict = len({_person(entry) for entry in claimed} | given) > 1
    if in_conflict:
        for entry in usable:
            if entry.look:
                entry.look = entry.look.refused(PATIENT_CONFLICT_REASON)
    if in_conflict and contested:
        claim = contested[0]
    elif claimed:
        claim = compute_entry_claim_key(claimed[0], run.secret)
    elif known or not usable or (usable[0].look and usable[0].look.packed):
        claim = known[0] if known else ""
    else:
        claim = compute_entry_claim_key(usable[0], run.secret)
    unit = (digest, claim)
    for entry in entries:
        entry.unit = unit


def _claimed(entry: InputEntry) -> bool:
    """Tell whether the input names the patient; a DICOM header takes precedence over the file's name."""
    if entry.found.listed:
        return True
    claim = entry.found.claim
    return bool(entry.look and entry.look.voxels) and (claim.in_bids or claim.by_folder)


def _person(entry: InputEntry) -> tuple[str, str]:
    """Return the patient that the input names; equal labels of two datasets are two patients."""
    return entry.found.claim.kind, entry.found.claim.subject
