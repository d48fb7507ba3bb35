"""The ingest run: find new files, read them, decide on each, and account for every one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from siamese_med.ingestion.catalogue import bids_dataset
from siamese_med.ingestion.catalogue import catalogue as catalogues
from siamese_med.ingestion.catalogue.catalogue import PAGE_OUTDATED_ROW, Catalogue
from siamese_med.ingestion.catalogue.face_setting import decide_defacing
from siamese_med.ingestion.catalogue.file_tallies import build_account
from siamese_med.ingestion.catalogue.rows import SCAN_TABLE, PathRow
from siamese_med.ingestion.catalogue.scan_names import assign_scan_names
from siamese_med.ingestion.catalogue.shared_days import flag_scans_of_shared_days
from siamese_med.ingestion.catalogue.tables import ContentUnit
from siamese_med.ingestion.commit import IngestCommitter
from siamese_med.ingestion.conversion import ConversionJob, convert_volume
from siamese_med.ingestion.grouping import group_entries
from siamese_med.ingestion.identification import (
    find_renamed_units,
    find_replaced_units,
    find_resolved_contents,
    identify_contents,
    recognise_unchanged_files,
    was_listed_whole,
)
from siamese_med.ingestion.inputs import sources, time_limits
from siamese_med.ingestion.inputs.dataset_namespaces import assign_namespaces, merge_dataset_copies
from siamese_med.ingestion.inputs.entries import FileGroup, InputEntry, make_entries, mark_unopened_entries
from siamese_med.ingestion.inputs.input_namespaces import assign_input_space
from siamese_med.ingestion.inspection import inspect_entries
from siamese_med.ingestion.privacy.pseudonyms import load_pseudonyms
from siamese_med.ingestion.reasons import get_outcome
from siamese_med.ingestion.run_state import IngestRun
from siamese_med.ingestion.scan_checks import own_hints
from siamese_med.ingestion.volume_candidates import GroupPlan, PlannedVolume, plan_group
from siamese_med.ingestion.workers import Workers
from siamese_med.runtime import files, progress
from siamese_med.study.config import IngestConfig
from siamese_med.study.tables import IngestResult
from siamese_med.study.vocabulary import ScanFlag


def ingest_files(
    source: Path, data: Path, catalogue_url: str, config: IngestConfig, verify: bool = False, own: Sequence[Path] = ()
) -> IngestResult:
    """Turn the files of an input into scans, and account for each; a further run does only what is new.

    Parameters
    ----------
    source
        A folder (BIDS or not), a CSV or TSV manifest, or one file.
    data
        The data folder; scans go to `scans` in it.
    catalogue_url
        SQLAlchemy URL of the catalogue.
    config
        Limits, time limit, workers and secret file.
    verify
        Hash every file again, instead of trusting path, size, time and inode.
    own
        Folders that the study writes to; their files are no input.

    Raises
    ------
    MissingFileError, EmptyInputError, ManifestError, SecretError, PluginError
        The input, manifest, secret or plug-in cannot be used. A bad file raises nothing, it gets a reason.
    NoSpaceError
        The disk is full.
    """
    own_hints(config)  # a check that cannot be imported is told here, and not by every worker for every scan
    with time_limits.limit_system_calls(config.timeout_s):
        found = sources.collect_input_paths(source, own)
        secret = load_pseudonyms(config.secret_file)
        lock = files.hold_exclusive_lock(data / catalogues.INGEST_LOCK_FILE)
        with lock, Workers(config.workers, config.timeout_s) as workers:
            files.remove_stale_temporary_files(data / "scans")
            catalogue = Catalogue(catalogue_url, secret.label("catalogue"))
            secret = replace(secret, dates_in_past=catalogue.dates_in_past)
            try:
                decided = decide_defacing(config, catalogue)
                entries = make_entries(found, secret)
                result = _ingest(IngestRun(data, decided, secret, catalogue, workers, entries), source, verify)
            finally:
                catalogue.close()
    if "no_disk_space" in result.account.reasons:
        raise files.make_no_space_error(data, asdict(result.account))
    return result


def gather_groups(run: IngestRun, source: Path, by_content: bool) -> tuple[list[FileGroup], set[ContentUnit]]:
    """Read headers and names of a run's files, and group those that need a decision; nothing is decided yet.

    `source` is the input. `by_content`: read and hash every file again. Returns the groups, and the units that other
    contents replaced.
    """
    run.begin()
    assign_input_space(run, source)
    assign_namespaces(run)
    recognise_unchanged_files(run, by_content)
    mark_unopened_entries(run.entries)
    inspect_entries(run, [entry for entry in run.entries if entry.unit is None and entry.look is None])
    merge_dataset_copies(run)
    identify_contents(run)
    gone = find_replaced_units(run) | find_renamed_units(run, source)
    return group_entries(run, gone), gone


def _ingest(run: IngestRun, source: Path, verify: bool) -> IngestResult:
    groups, gone = gather_groups(run, source, by_content=verify)
    _convert(run, groups, gone)
    flag_scans_of_shared_days(run.catalogue, run.secret)
    if run.workers.lost:
        files.remove_stale_temporary_files(run.data / "scans")
    new = _record_paths(run, source.absolute())
    if new:
        bids_dataset.write_bids_derivative(run.data / "scans", run.catalogue.rows(SCAN_TABLE))
    return replace(_result(run), new=new)


def _convert(run: IngestRun, gathered: Sequence[FileGroup], gone: set[ContentUnit]) -> None:
    """Name all volumes, decode them in workers, and write each group once it is done.

    `gone`: replaced units; scans of their groups are deleted, unless the remaining files make them again. A group is
    planned once for the names and again when its turn comes, since keeping all plans would take memory in proportion to
    the export.
    """
    planned = (volume for group in gathered for volume in plan_group(group, run.config, run.secret).volumes)
    named = assign_scan_names([volume.candidate for volume in planned], run.catalogue, run.secret)
    commitment = IngestCommitter(run, named)
    commitment.note_replaced(gone)
    parts = {unit for unit in gone if run.fates[unit].reason != "lesion_mask"}  # a mask is no part of its scan
    commitment.forget({run.fates[unit].series for unit in parts} - {group.key for group in gathered})
    at_work: dict[int, tuple[GroupPlan, PlannedVolume]] = {}
    with progress.show_progress("converting", sum(len(group.entries) for group in gathered), "files") as advance:
        for index, converted in run.workers.each(
            convert_volume, _jobs(run, gathered, commitment, at_work), label="convert"
        ):
            work, volume = at_work.pop(index)
            commitment.take(work, volume, converted)
            advance(len(volume.files))
    commitment.flush()


def _jobs(
    run: IngestRun,
    gathered: Sequence[FileGroup],
    commitment: IngestCommitter,
    at_work: dict[int, tuple[GroupPlan, PlannedVolume]],
) -> Iterator[ConversionJob]:
    """Yield jobs as workers ask for them, each recorded in `at_work` by number; commit groups without volumes."""
    number = 0
    for group in gathered:
        work = plan_group(group, run.config, run.secret)
        if not work.volumes:
            commitment.commit_group(work)
        for volume in work.volumes:
            at_work[number] = (work, volume)
            number += 1
            yield commitment.job(volume)


def _record_paths(run: IngestRun, source: Path) -> bool:
    """Write the input's paths, and tell whether anything is new or gone, or not yet on the ingest page.

    Paths that vanished are forgotten for this input only, and only where all of it could be listed. Paths in the spool
    of a pull are never kept.
    """
    label = run.secret.label("input", source)
    looked = [entry for entry in run.entries if entry.look is not None and entry.known not in run.kept]
    rows = {entry.key: _path_row(entry, label) for entry in looked}
    if rows:
        run.catalogue.write(
            {"path": list(rows.values()), "meta": [PAGE_OUTDATED_ROW]}, unread=find_resolved_contents(run)
        )
    spooled = source.is_relative_to(run.data.absolute())
    whole = was_listed_whole(run) and not spooled
    gone = run.catalogue.forget_paths(label, {entry.key for entry in run.entries}) if whole else 0
    return bool(rows or gone) or not run.shown


def _path_row(entry: InputEntry, source: str) -> PathRow:
    (digest, claim), (size, changed_ns, inode) = entry.known, entry.stat
    return {
        "key": entry.key, "sha256": digest, "claim": claim, "input": source,
        "size": size, "changed_ns": changed_ns, "inode": inode,
    }  # fmt: skip


def _result(run: IngestRun) -> IngestResult:
    """Count every entry once: the first of a unit with its outcome, its copies as duplicates."""
    outcomes: Counter[str] = Counter()
    words: Counter[str] = Counter()
    seen: set[ContentUnit] = set()
    series: set[str] = set()
    for entry in run.entries:
        fate = run.fates[entry.known]
        word = "duplicate" if entry.known in seen else fate.reason
        seen.add(entry.known)
        outcomes[get_outcome(word)] += 1
        words.update([word] if word else [])
        series.update([fate.series] if fate.scan else [])
    scans = run.catalogue.rows(SCAN_TABLE) if run.config.deface else []
    faces = sum(ScanFlag.DEFACED not in row["flags"] for row in scans)
    return IngestResult(build_account(outcomes, words), run.catalogue.scans_of(series), faces_left=faces)
