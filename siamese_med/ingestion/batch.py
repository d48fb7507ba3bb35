"""The ingest run: which files are new, what they hold, what becomes of them, and an account of every one."""

from __future__ import annotations

import fcntl
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from siamese_med import files
from siamese_med.config import IngestConfig
from siamese_med.ingestion import catalogue as catalogues
from siamese_med.ingestion import content, progress, sources
from siamese_med.ingestion.candidates import work_of
from siamese_med.ingestion.catalogue import Catalogue
from siamese_med.ingestion.commitment import Commitment
from siamese_med.ingestion.content import Glance, Look
from siamese_med.ingestion.conversion import convert
from siamese_med.ingestion.entries import Entry, Group, Unit, entry_of, group_key
from siamese_med.ingestion.reasons import outcome
from siamese_med.ingestion.register import names
from siamese_med.ingestion.secret import Pseudonyms, pseudonyms
from siamese_med.ingestion.workers import WorkerLostError, Workers
from siamese_med.records import Ingested

FILES_AT_ONCE = 32


@dataclass
class Run:
    """What one run knows; `rows` are those of the catalogue's file table."""

    data: Path
    config: IngestConfig
    secret: Pseudonyms
    catalogue: Catalogue
    workers: Workers
    entries: list[Entry] = field(default_factory=list)
    rows: dict[Unit, dict[str, Any]] = field(default_factory=dict)
    paths: dict[str, dict[str, Any]] = field(default_factory=dict)  # of its path table, for this input
    usable: set[Unit] = field(default_factory=set)  # units whose earlier outcome still stands


def ingest(source: Path, data: Path, catalogue_url: str, config: IngestConfig) -> Ingested:
    """Turn files into scans under `data`, and account for each; running it again does only what is new.

    Raises MissingFileError, EmptyInputError, ManifestError or SecretError; a bad file raises nothing.
    """
    found = sources.collect(source)
    secret = pseudonyms(config.secret_file)
    with _alone(data), Workers(config.workers, config.timeout_s) as workers:
        files.remove_leftovers(data / "scans")
        catalogue = Catalogue(catalogue_url, secret.label("catalogue"))
        try:
            run = Run(data, config, secret, catalogue, workers, [entry_of(one, secret) for one in found])
            _recognise(run)
            _look(run, [entry for entry in run.entries if entry.unit is None])
            _identify(run)
            _convert(run, _groups(run))
            _remember_paths(run)
            return _result(run)
        finally:
            catalogue.close()


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Hold the data folder's lock; a second run waits for the first."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / ".ingest.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("another ingest is at work on this data folder: waiting for it to end\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _recognise(run: Run) -> None:
    """Give entries that did not change since an earlier run their unit, by path, size, time and inode alone."""
    run.paths = {row["key"]: row for row in run.catalogue.rows("path", "key", (entry.key for entry in run.entries))}
    run.rows = {(row["sha256"], row["claim"]): row for row in run.catalogue.rows("file")}
    run.usable = _usable(run)
    for entry in run.entries:
        row = run.paths.get(entry.key)
        if row is None or (row["size"], row["changed_ns"], row["inode"]) != entry.stat:
            continue
        same_claim = row["claim"] == entry.claim or (not row["claim"] and entry.found.claim.kind != "manifest")
        if same_claim and (row["sha256"], row["claim"]) in run.usable:
            entry.unit = (row["sha256"], row["claim"])


def _usable(run: Run) -> set[Unit]:
    """Units whose scan is still there, or which failed by the rules that still hold."""
    rules = run.config.model_dump_json(include={"min_slices", "max_gigabytes", "volume_of_4d"})
    before = {row["key"]: row["value"] for row in run.catalogue.rows("meta")}.get("rules", rules)
    run.catalogue.write({"meta": [{"key": "rules", "value": rules}]})
    there = {row["id"] for row in run.catalogue.rows("scan") if (run.data / row["path"]).is_file()}
    return {
        unit
        for unit, row in run.rows.items()
        if (
            row["scan"] in there if row["outcome"] == "ingested" else row["outcome"] != "quarantined" or rules == before
        )
    }


def _look(run: Run, entries: Sequence[Entry]) -> None:
    """Look at files in worker processes, many at once; those of a lost process again one by one."""
    chunks = [entries[start : start + FILES_AT_ONCE] for start in range(0, len(entries), FILES_AT_ONCE)]
    lost: list[Entry] = []
    with progress.shown("looking", len(entries)) as advance:
        for index, looks in run.workers.each(content.look_at, [_glance(run, chunk) for chunk in chunks]):
            if isinstance(looks, WorkerLostError):
                lost += chunks[index]
                continue
            advance(len(looks))
            for entry, look in zip(chunks[index], looks, strict=True):
                entry.look = _as_named(entry, look)
        for index, looks in run.workers.each(content.look_at, [_glance(run, [entry]) for entry in lost]):
            entry = lost[index]
            entry.look = (
                content.hopeless(entry.found.path) if isinstance(looks, WorkerLostError) else _as_named(entry, looks[0])
            )
            advance(1)


def _glance(run: Run, entries: Sequence[Entry]) -> Glance:
    return Glance(tuple(str(entry.found.path) for entry in entries), run.config.max_gigabytes)


def _as_named(entry: Entry, look: Look) -> Look:
    """A side-car is no broken image, and a mask or derivative no scan, although its content might do."""
    word = entry.found.reason
    applies = (
        look.voxels if word != "side_car" else not (look.voxels or look.instance or look.reason == "unreadable_file")
    )
    return replace(look, voxels="", reason=word) if word and applies else look


def _identify(run: Run) -> None:
    """Give every entry that was looked at its unit; one content under two subjects is taken for neither."""
    claims: dict[str, list[str]] = defaultdict(list)
    for digest, claim in run.rows:
        claims[digest].append(claim)
    voxels = {entry.look.voxels: entry for entry in run.entries if entry.look}
    by_content: dict[str, list[Entry]] = defaultdict(list)
    given: dict[str, set[str]] = defaultdict(set)
    for entry in run.entries:
        if entry.unit is not None and entry.unit[1]:
            given[entry.unit[0]].add(entry.found.claim.subject)
        if entry.look is not None and entry.unit is None:
            header = voxels.get(str(entry.found.path), entry)
            entry.follows = header if header is not entry else None
            by_content[entry.look.sha256 or run.secret.label("unreadable", entry.key)].append(entry)
    for digest, entries in by_content.items():
        _identify_copies(digest, entries, claims[digest], given[digest])


def _identify_copies(digest: str, entries: list[Entry], known: list[str], given: set[str]) -> None:
    """`known`: claims on it in the catalogue; `given`: subjects that unchanged files of this input give it."""
    usable = [entry for entry in entries if entry.look and (entry.look.instance or entry.look.voxels)]
    claimed = [entry for entry in usable if _claimed(entry)]
    if len({entry.found.claim.subject for entry in claimed} | given) > 1:
        for entry in claimed:
            if entry.look:
                entry.look = replace(entry.look, instance=None, voxels="", reason="patient_conflict")
    if claimed:
        claim = claimed[0].claim
    elif known or not usable or (usable[0].look and usable[0].look.instance):
        claim = known[0] if known else ""
    else:
        claim = usable[0].claim
    for entry in entries:
        entry.unit = (digest, claim)


def _claimed(entry: Entry) -> bool:
    """Whether the input itself says who it is: a DICOM file's own word counts more than its name."""
    kind = entry.found.claim.kind
    return kind == "manifest" or (kind == "bids" and bool(entry.look and entry.look.voxels))


def _groups(run: Run) -> list[Group]:
    """Units that need a decision, gathered by series; known slices of a series that grew are looked at again."""
    firsts: dict[Unit, Entry] = {}
    for entry in run.entries:
        firsts.setdefault(entry.known, entry)
    fresh = [entry for entry in firsts.values() if entry.look is not None and not _settled(run, entry)]
    touched = {group_key(entry, run.secret) for entry in fresh}
    old = firsts.keys() & run.usable - {entry.known for entry in fresh}
    again = [entry for unit, entry in firsts.items() if unit in old and run.rows[unit]["series"] in touched]
    _look(run, [entry for entry in again if entry.look is None])
    gathered: dict[str, Group] = {}
    for entry in [*fresh, *again]:
        key = group_key(entry, run.secret)
        gathered.setdefault(key, Group(key)).entries.append(entry)
    _mark_absent(run, gathered, set(firsts))
    return [gathered[key] for key in sorted(gathered)]


def _settled(run: Run, entry: Entry) -> bool:
    """Whether an earlier outcome stands; what failed gets another chance in new company, that is at a new path."""
    return entry.known in run.usable and run.rows[entry.known]["outcome"] != "quarantined"


def _mark_absent(run: Run, gathered: dict[str, Group], present: set[Unit]) -> None:
    """A series cannot be judged by its new slices alone if older ones, ingested before, are not in this input."""
    for unit in run.usable - present:
        row = run.rows[unit]
        group = gathered.get(row["series"])
        if group is not None and row["outcome"] == "ingested":
            group.absent = True
            group.entries = [entry for entry in group.entries if entry.known not in run.usable]


def _convert(run: Run, groups: Sequence[Group]) -> None:
    """Judge the groups, name their volumes, decode them in workers, and write each group down once it is done."""
    works = [work_of(group, run.config, run.secret) for group in groups]
    planned = [(work, volume) for work in works for volume in work.volumes]
    named = names([volume.candidate for _, volume in planned], run.catalogue, run.secret)
    commitment = Commitment(run.data, run.catalogue, run.secret, named, run.rows)
    for work in works:
        if not work.volumes:
            commitment.settle(work)
    commitment.forget(_superseded(run))
    jobs = [commitment.job(volume) for _, volume in planned]
    with progress.shown("converting", len(jobs)) as advance:
        for index, converted in run.workers.each(convert, jobs):
            commitment.take(*planned[index], converted)
            advance(1)
    commitment.flush()


def _superseded(run: Run) -> set[str]:
    """Groups of NIfTI contents that gave way to another content at their path and lie nowhere else."""
    looked = {entry.key: entry for entry in run.entries if entry.look is not None and entry.key in run.paths}
    before = {(run.paths[key]["sha256"], run.paths[key]["claim"]) for key in looked}
    gone = {unit for unit in before - {entry.known for entry in run.entries} if unit[1] and unit in run.rows}
    elsewhere = run.catalogue.rows("path", "sha256", {digest for digest, _ in gone})
    kept = {(row["sha256"], row["claim"]) for row in elsewhere if row["key"] not in looked}
    return {run.rows[unit]["series"] for unit in gone - kept}


def _remember_paths(run: Run) -> None:
    rows = {entry.key: _path_row(entry) for entry in run.entries if entry.look is not None}
    run.catalogue.write({"path": list(rows.values())})


def _path_row(entry: Entry) -> dict[str, Any]:
    (digest, claim), (size, changed_ns, inode) = entry.known, entry.stat
    return {"key": entry.key, "sha256": digest, "claim": claim, "size": size, "changed_ns": changed_ns, "inode": inode}


def _result(run: Run) -> Ingested:
    """Every entry counted once: the first of a unit as what it became, its copies as duplicates."""
    outcomes: Counter[str] = Counter()
    words: Counter[str] = Counter()
    seen: set[Unit] = set()
    series: set[str] = set()
    for entry in run.entries:
        row = run.rows[entry.known]
        word = "duplicate" if entry.known in seen else row["reason"]
        seen.add(entry.known)
        outcomes[outcome(word)] += 1
        words.update([word] if word else [])
        series.update([row["series"]] if row["scan"] else [])
    account = catalogues.account_of(outcomes, words)
    return Ingested(account, catalogues.frame(run.catalogue.rows("scan", "series", sorted(series))))
