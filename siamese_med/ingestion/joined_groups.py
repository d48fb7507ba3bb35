"""Groups of files that are parts of one volume, stored as several series: they are judged together, in every run.

The catalogue remembers under which key, so that a file that arrives later is judged with all others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

from siamese_med.ingestion.catalogue.rows import SCAN_TABLE, SERIES_TABLE
from siamese_med.ingestion.dicom.instances import DicomInstance
from siamese_med.ingestion.dicom.joined_series import are_parts_of_one_volume, describe_acquisition
from siamese_med.ingestion.inputs import ownership
from siamese_med.ingestion.inputs.entries import FileGroup, InputEntry, compute_group_key
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.ingestion.run_state import JOINED_KEY_PREFIX, IngestRun


def split_by_series(
    group: FileGroup, instances: Sequence[DicomInstance], min_slices: int, secret: Pseudonyms
) -> dict[str, list[InputEntry]]:
    """Return the entries of a group by the key of what they make up.

    It is the group itself, or each of its series where they were parts of one volume and no longer are. `instances` are
    those of the group.
    """
    if len({(one.study, one.series or one.facts.number) for one in instances}) == 1:
        return {group.key: group.entries}
    parts: dict[str, list[InputEntry]] = defaultdict(list)
    for entry in (one for one in group.entries if not one.is_segmentation):
        parts[compute_group_key(entry, secret) if _instance(entry) else group.key].append(entry)
    if len(parts) > 1 and not are_parts_of_one_volume([*map(list_instances, parts.values())], min_slices):
        return parts
    return {group.key: group.entries}


def list_known_siblings(run: IngestRun, gathered: Mapping[str, FileGroup]) -> set[str]:
    """List series of earlier runs that may be the other part of a gathered one: of its visit and its protocol."""
    wanted = set()
    for group in gathered.values():
        one = _instance(group.entries[0])
        owner = ownership.identify_entry_owner(group.entries[0], one) if one and describe_acquisition(one) else None
        if one and owner:
            wanted.add((owner.session_key(run.secret), run.secret.describe("protocol", one.facts.protocol)))
    known = run.catalogue.rows(SERIES_TABLE, "visit", {visit for visit, _ in wanted})
    visits = {row["key"]: row["visit"] for row in known if row["key"] not in gathered}
    scans = run.catalogue.rows(SCAN_TABLE, "series", visits)
    return {row["series"] for row in scans if (visits[row["series"]], row["protocol"]) in wanted}


def join_groups(run: IngestRun, gathered: dict[str, FileGroup]) -> None:
    """Put groups together that are parts of one volume, and write to the catalogue under which key.

    `gathered` is changed in place. The key is that of an earlier join, or else the first in order.
    """
    alike: dict[Hashable, list[FileGroup]] = defaultdict(list)
    for group in gathered.values():
        described = _describe(group)
        if described is not None:
            alike[described].append(group)
    known = set(run.joined.values())
    for groups in (some for some in alike.values() if len(some) > 1):
        parts = [list_instances(group.entries) for group in groups]
        if are_parts_of_one_volume(parts, run.config.min_slices):
            first, *others = sorted(groups, key=lambda group: (group.key not in known, group.key))
            first.joined = tuple(group.key for group in others)
            for other in others:
                first.entries += gathered.pop(other.key).entries
            _note(run, first)


def _describe(group: FileGroup) -> Hashable | None:
    """Return what parts of one volume have in common; what a manifest lists is one scan a series, as it says."""
    if not group.entries or group.absent or group.entries[0].found.listed:
        return None
    one = _instance(group.entries[0])
    return describe_acquisition(one) if one else None


def _note(run: IngestRun, group: FileGroup) -> None:
    moved = {*group.joined, *(key for key, target in run.joined.items() if target in group.joined)}
    run.joined.update(dict.fromkeys(moved, group.key))
    run.catalogue.write({"meta": [{"key": JOINED_KEY_PREFIX + key, "value": group.key} for key in sorted(moved)]})


def _instance(entry: InputEntry) -> DicomInstance | None:
    return entry.look.instance if entry.look else None


def list_instances(entries: Iterable[InputEntry]) -> list[DicomInstance]:
    """List the DICOM files among entries, as far as they were inspected and could be read."""
    return [one for entry in entries if entry.look and (one := entry.look.instance)]
