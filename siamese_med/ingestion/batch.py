"""The ingest run: which files are new, what they hold, what becomes of them, and an account of every one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from siamese_med import files, progress
from siamese_med.config import IngestConfig
from siamese_med.ingestion import catalogue as catalogues
from siamese_med.ingestion import derivative, patience, sources
from siamese_med.ingestion.candidates import Planned, Work, work_of
from siamese_med.ingestion.catalogue import NOT_SHOWN, Catalogue
from siamese_med.ingestion.commitment import Commitment
from siamese_med.ingestion.conversion import Job, convert
from siamese_med.ingestion.entries import Entry, Group, entries_of, settle_unopened
from siamese_med.ingestion.grouping import groups
from siamese_med.ingestion.identification import identify, recognise, replaced, resolved
from siamese_med.ingestion.looking import look
from siamese_med.ingestion.namespaces import settle_spaces, unite_copies
from siamese_med.ingestion.reasons import outcome
from siamese_med.ingestion.register import names
from siamese_med.ingestion.run import Run
from siamese_med.ingestion.secret import pseudonyms
from siamese_med.ingestion.tables import Unit
from siamese_med.ingestion.workers import Workers
from siamese_med.records import Ingested

NOT_LISTED = ("unlisted_folder", "timed_out")
"""What may be said of a folder whose files are not known for now."""


def ingest(source: Path, data: Path, catalogue_url: str, config: IngestConfig, verify: bool = False) -> Ingested:
    """Turn files into scans under `data`, and account for each; running it again does only what is new.

    What is new is told by path, size, time and inode; `verify` reads and hashes every file again.

    Raises MissingFileError, EmptyInputError, ManifestError or SecretError; a bad file raises nothing.
    """
    with patience.limited(config.timeout_s):
        found = sources.collect(source)
        secret = pseudonyms(config.secret_file)
        with files.alone(data / catalogues.LOCK), Workers(config.workers, config.timeout_s) as workers:
            files.remove_leftovers(data / "scans")
            catalogue = Catalogue(catalogue_url, secret.label("catalogue"))
            try:
                result = _ingest(
                    Run(data, config, secret, catalogue, workers, entries_of(found, secret)), source, verify
                )
            finally:
                catalogue.close()
    if "no_disk_space" in result.account.reasons:
        raise files.no_space(data, asdict(result.account))
    return result


def _ingest(run: Run, source: Path, verify: bool) -> Ingested:
    run.begin()
    settle_spaces(run)
    recognise(run, by_content=verify)
    settle_unopened(run.entries)
    look(run, [entry for entry in run.entries if entry.unit is None and entry.look is None])
    unite_copies(run)
    identify(run)
    gone = replaced(run)
    _convert(run, groups(run, gone), gone)
    if run.workers.lost:
        files.remove_leftovers(run.data / "scans")
    new = _remember(run, source.absolute())
    if new:
        derivative.write(run.data / "scans", run.catalogue.rows("scan"))
    return replace(_result(run), new=new)


def _convert(run: Run, gathered: Sequence[Group], gone: set[Unit]) -> None:
    """Name all volumes, then decode them in workers, and write each group down once it is done.

    `gone`: units that were replaced, with whose groups their scans go, unless what is left makes them anew.

    A group is judged once for the names and once more when its turn comes: keeping every plan would cost more memory
    the larger the export.
    """
    planned = (volume for group in gathered for volume in work_of(group, run.config, run.secret).volumes)
    named = names([volume.candidate for volume in planned], run.catalogue, run.secret)
    commitment = Commitment(run, named)
    commitment.note_replaced(gone)
    commitment.forget({run.fates[unit].series for unit in gone} - {group.key for group in gathered})
    at_work: dict[int, tuple[Work, Planned]] = {}
    with progress.shown("converting", sum(len(group.entries) for group in gathered), "files") as advance:
        for index, converted in run.workers.each(convert, _jobs(run, gathered, commitment, at_work)):
            work, volume = at_work.pop(index)
            commitment.take(work, volume, converted)
            advance(len(volume.files))
    commitment.flush()


def _jobs(
    run: Run, gathered: Sequence[Group], commitment: Commitment, at_work: dict[int, tuple[Work, Planned]]
) -> Iterator[Job]:
    """Jobs one by one as workers ask for them, each noted in `at_work` by its number; volumeless groups are settled."""
    number = 0
    for group in gathered:
        work = work_of(group, run.config, run.secret)
        if not work.volumes:
            commitment.settle(work)
        for volume in work.volumes:
            at_work[number] = (work, volume)
            number += 1
            yield commitment.job(volume)


def _remember(run: Run, source: Path) -> bool:
    """Write down the input's paths, and say whether anything was new or gone, or is not yet on the ingest page.

    What vanished from an input is told from what another input holds, and only where all of it could be listed; what a
    pull left in the spool never stays.
    """
    label = run.secret.label("input", source)
    looked = [entry for entry in run.entries if entry.look is not None and entry.known not in run.kept]
    rows = {entry.key: _path_row(entry, label) for entry in looked}
    if rows:
        run.catalogue.write({"path": list(rows.values()), "meta": [NOT_SHOWN]}, unread=resolved(run))
    spooled = source.is_relative_to(run.data.absolute())
    listed = not any(entry.look and entry.look.reason in NOT_LISTED for entry in run.entries)
    gone = run.catalogue.forget_paths(label, {entry.key for entry in run.entries}) if listed and not spooled else 0
    return bool(rows or gone) or not run.shown


def _path_row(entry: Entry, source: str) -> dict[str, Any]:
    (digest, claim), (size, changed_ns, inode) = entry.known, entry.stat
    stat = {"size": size, "changed_ns": changed_ns, "inode": inode}
    return {"key": entry.key, "sha256": digest, "claim": claim, "input": source, **stat}


def _result(run: Run) -> Ingested:
    """Every entry counted once: the first of a unit as what it became, its copies as duplicates."""
    outcomes: Counter[str] = Counter()
    words: Counter[str] = Counter()
    seen: set[Unit] = set()
    series: set[str] = set()
    for entry in run.entries:
        fate = run.fates[entry.known]
        word = "duplicate" if entry.known in seen else fate.reason
        seen.add(entry.known)
        outcomes[outcome(word)] += 1
        words.update([word] if word else [])
        series.update([fate.series] if fate.scan else [])
    account = catalogues.account_of(outcomes, words)
    return Ingested(account, run.catalogue.scans_of(series))
