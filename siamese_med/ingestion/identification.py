"""Which content a file is: known from an earlier run, a copy of another one, or new; and whose, where two say so."""

from __future__ import annotations

from collections import defaultdict

from siamese_med.ingestion import verdict_rules
from siamese_med.ingestion.catalogue.tables import ContentUnit, is_unread_unit
from siamese_med.ingestion.inputs.entries import InputEntry, compute_entry_claim_key
from siamese_med.ingestion.reasons import PATH_REASONS, UNOPENED_REASONS
from siamese_med.ingestion.run_state import IngestRun

PATIENT_CONFLICT_REASON = "patient_conflict"


def recognise_unchanged_files(run: IngestRun, by_content: bool) -> None:
    """Give entries that did not change since an earlier run their unit, by path, size, time and inode alone.

    `by_content`: none of them, so that all are looked at.
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
    """Whether what the path alone says of a file is what decided about it; a description may have come beside it."""
    unit = run.paths[entry.key].unit
    word, before = entry.found.reason, run.fates[unit].reason
    if before in PATH_REASONS:
        return word == before
    return not (unit[1] and run.fates[unit].scan and word in PATH_REASONS)


def identify_contents(run: IngestRun) -> None:
    """Give every entry that was looked at its unit; one content under two subjects is taken for neither."""
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
    """Whether a file that cannot be read this time was read before: what it held then stands until it can be."""
    place = run.paths.get(entry.key)
    if place is None or entry.look is None or not is_unread_unit(entry.known):
        return False
    closed = verdict_rules.is_machine_reason(entry.look.reason) or entry.look.reason in UNOPENED_REASONS
    return closed and not is_unread_unit(place.unit) and place.unit in run.fates


def find_resolved_contents(run: IngestRun) -> set[str]:
    """What stood for files whose content was not known, and is now."""
    before = {run.paths[entry.key].unit for entry in run.entries if entry.look is not None and entry.key in run.paths}
    return {unit[0] for unit in before - {entry.known for entry in run.entries} if is_unread_unit(unit)}


def find_replaced_units(run: IngestRun) -> set[ContentUnit]:
    """Units that gave way to another content at their path and lie nowhere else."""
    looked = {
        entry.key
        for entry in run.entries
        if entry.look is not None and entry.key in run.paths and entry.known not in run.kept
    }
    before = {unit for key in looked if not is_unread_unit(unit := run.paths[key].unit)}
    gone = {unit for unit in before - {entry.known for entry in run.entries} if unit in run.fates}
    elsewhere = run.catalogue.rows("path", "sha256", {digest for digest, _ in gone})
    return gone - {(row["sha256"], row["claim"]) for row in elsewhere if row["key"] not in looked}


def _identify_copies(
    run: IngestRun, digest: str, entries: list[InputEntry], known: list[str], given: set[tuple[str, str]]
) -> None:
    """`known`: claims on it in the catalogue; `given`: subjects that unchanged files of this input give it."""
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
    """Whether the input itself says who it is: a DICOM file's own word counts more than its name."""
    if entry.found.listed:
        return True
    return bool(entry.look and entry.look.voxels) and entry.found.claim.in_bids


def _person(entry: InputEntry) -> tuple[str, str]:
    """Who the input says that it is: equal labels of two data sets are two people."""
    return entry.found.claim.kind, entry.found.claim.subject
