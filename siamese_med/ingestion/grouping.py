"""Groups of files that are judged together: new ones by series, with the known slices of a series that grew."""

from __future__ import annotations

from siamese_med.ingestion.catalogue.tables import ContentUnit
from siamese_med.ingestion.inputs.entries import FileGroup, InputEntry, compute_group_key
from siamese_med.ingestion.inspection import inspect_entries
from siamese_med.ingestion.joined_groups import join_groups, list_known_siblings
from siamese_med.ingestion.run_state import IngestRun


def group_entries(run: IngestRun, replaced: set[ContentUnit]) -> list[FileGroup]:
    """Group the units that need a decision by series; series that are parts of one volume are one group.

    Known slices of a series that changed are inspected again. Of equal contents, one entry stands for all, preferably
    one that names its subject.

    Parameters
    ----------
    run
        The run, after `identify_contents`.
    replaced
        Units that other contents replaced at their paths.

    Returns
    -------
    list of FileGroup
        In the order of their keys. `absent` marks a series with slices from earlier runs that are not in this input.
    """
    firsts: dict[ContentUnit, InputEntry] = {}
    for entry in run.entries:
        first = firsts.setdefault(entry.known, entry)
        if first is not entry and _names_its_subject(entry) and not _names_its_subject(first):
            firsts[entry.known] = entry
    gathered: dict[str, FileGroup] = {}
    fresh = {unit for unit, entry in firsts.items() if entry.look is not None and not _is_decided(run, entry)}
    for unit, entry in firsts.items():
        if unit in fresh:
            _gather(run, gathered, entry)
    siblings = list_known_siblings(run, gathered)
    run.load_fates("series", {*gathered, *siblings})
    changed = gathered.keys() | siblings | {run.fates[unit].series for unit in replaced}
    old = (firsts.keys() & run.usable) - fresh
    again = [entry for unit, entry in firsts.items() if unit in old and run.fates[unit].series in changed]
    inspect_entries(run, [entry for entry in again if entry.look is None])
    for entry in again:
        _gather(run, gathered, entry)
    _mark_absent(run, gathered, firsts.keys() | replaced)
    join_groups(run, gathered)
    return [group for key, group in sorted(gathered.items()) if key not in siblings or group.joined]


def _gather(run: IngestRun, gathered: dict[str, FileGroup], entry: InputEntry) -> None:
    key = _find_key(run, entry)
    gathered.setdefault(key, FileGroup(key)).add(entry)


def _find_key(run: IngestRun, entry: InputEntry) -> str:
    key = compute_group_key(entry, run.secret)
    return run.joined.get(key, key)


def _names_its_subject(entry: InputEntry) -> bool:
    """Tell whether the input names a NIfTI's subject; of equal contents, a nameless copy must not stand for all."""
    return bool(entry.look and entry.look.voxels) and entry.found.claim.given


def _is_decided(run: IngestRun, entry: InputEntry) -> bool:
    """Tell whether an earlier outcome stands; a rejected file is judged again with new files, that is at a new path.

    So is a segmentation, since its series may lie there.
    """
    if entry.known not in run.usable or run.fates[entry.known].outcome == "quarantined":
        return False
    if not entry.is_segmentation:
        return True
    return entry.key in run.paths and run.fates[entry.known].series == _find_key(run, entry)


def _mark_absent(run: IngestRun, gathered: dict[str, FileGroup], present: set[ContentUnit]) -> None:
    """Mark series with slices ingested before that are not in this input: new slices alone cannot be judged."""
    for unit in run.usable - present:
        fate = run.fates[unit]
        group = gathered.get(fate.series)
        if group is not None and fate.outcome == "ingested":
            group.absent = True
            group.entries = [entry for entry in group.entries if entry.known not in run.usable]
    for group in gathered.values():  # its series may be a scan already, and stays as it is
        group.absent |= all(entry.is_segmentation for entry in group.entries)
