"""A pull from a PACS: what is new there is fetched series by series, reconciled, and ingested like any folder."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

from siamese_med import progress
from siamese_med.address import Pull
from siamese_med.config import IngestConfig
from siamese_med.errors import AddressError, EmptyInputError, SiameseMedError, TransferError
from siamese_med.ingestion import batch, catalogue, reasons, reconciliation, troubles
from siamese_med.ingestion.archive import Archive, ListedStudy
from siamese_med.ingestion.entries import series_key
from siamese_med.ingestion.history import Arrived, History
from siamese_med.ingestion.reconciliation import Ledger
from siamese_med.ingestion.secret import Pseudonyms, pseudonyms
from siamese_med.ingestion.spool import Spool, spooling
from siamese_med.ingestion.troubles import BrokenOffError, UnreachableError
from siamese_med.records import Ingested, Transfer

LOAD_BYTES = 4 * 10**9
"""What may lie in the spool before it is ingested and removed: disk space is bounded, and few runs are made."""

FAILURES_IN_A_ROW = 3
"""Studies after which the server is taken to be gone; trying each of thousands would take the night."""


@dataclass
class Run:
    """What one pull knows. `arrived` are the series in the spool, `keys` those that the query matches."""

    archive: Archive
    spool: Spool
    history: History
    ledger: Ledger
    secret: Pseudonyms
    tries: int
    transfer: Transfer = field(default_factory=Transfer)
    words: Counter[str] = field(default_factory=Counter)  # reason words of files, the empty one for ingested
    arrived: list[Arrived] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    failure: SiameseMedError | None = None  # the last one
    unreachable: int = 0  # studies in a row for which the server did not answer


def ingest(pull: Pull, data: Path, catalogue_url: str, config: IngestConfig) -> Ingested:
    """Fetch what is new and ingest it; a study that cannot be fetched costs that study, and is counted.

    Raises TransferError, AddressError, EmptyInputError, MissingFileError or SecretError.
    """
    secret = pseudonyms(config.secret_file)
    with troubles.silenced(), spooling(data, secret) as spool:
        ledger = Ledger(pull.sent)
        server = Archive(pull, config)
        waiting = deque(server.studies())
        if not waiting:
            raise EmptyInputError("no study of the PACS matches the query: check its keys and values")
        history = History(data, catalogue_url, secret, config)
        run = Run(server, spool, history, ledger, secret, config.transfer_tries, Transfer(studies=len(waiting)))
        while waiting:
            _fetch(run, waiting)
            if spool.size:
                account = batch.ingest(spool.folder, data, catalogue_url, config).account
                run.words.update({"": account.ingested, **account.reasons})
            run.history.write(run.arrived)
            run.arrived = []
            spool.clear()
        return _result(run)


def _fetch(run: Run, waiting: deque[ListedStudy]) -> None:
    """Fetch studies until the spool is full or none is left."""
    with progress.shown("pulling", sum(study.announced for study in waiting), "files") as advance:
        while waiting and run.spool.size < LOAD_BYTES:
            if run.unreachable >= FAILURES_IN_A_ROW:
                run.transfer.failed += len(waiting)
                waiting.clear()
                return
            study = waiting.popleft()
            _fetch_study(run, study)
            advance(study.announced)


def _fetch_study(run: Run, study: ListedStudy) -> None:
    """Fetch the series of a study that are new or changed; a trouble ends this study, what came whole stays."""
    try:
        listed = run.archive.instances(study)
        fresh = {series for series, instances in listed.items() if not _stands(run, study.uid, series, instances)}
        total = sum(map(len, listed.values()))
        announced = run.archive.series(study.uid) if fresh or study.announced > total else {}
        fresh |= announced.keys() - listed.keys()
        run.transfer.missing += max(study.announced - max(total, sum(announced.values())), 0)
        run.transfer.unchanged += not fresh
        for series in sorted(fresh):
            _fetch_series(run, study.uid, series, listed.get(series, set()), announced.get(series, 0))
    except (TransferError, AddressError) as error:
        run.transfer.failed += 1
        run.failure = error
        run.unreachable = run.unreachable + 1 if isinstance(error, UnreachableError) else 0
    else:
        run.unreachable = 0


def _stands(run: Run, study: str, series: str, listed: set[str]) -> bool:
    """Whether there is nothing to fetch; what was sent is always fetched, since only its content can be compared."""
    key = series_key(study, series, run.secret)
    run.keys.add(key)
    if (study, series) in run.ledger.series or not run.history.stands(key, listed):
        return False
    run.words.update(run.history.outcomes(key))
    return True


def _fetch_series(run: Run, study: str, series: str, listed: set[str], announced: int) -> None:
    """Fetch one series, and count what came against what was listed."""
    came, contents = _receive_again(run, study, series)
    transfer, expected = run.transfer, max(len(listed), announced)
    received, unexpected = len(listed & came.keys()), sum(count for sop, count in came.items() if sop not in listed)
    transfer.series += 1
    transfer.listed += expected
    transfer.received += received
    transfer.missing += expected - received
    transfer.twice += sum(came[sop] - 1 for sop in listed & came.keys())
    transfer.unexpected += unexpected
    whole = received == expected and not unexpected
    run.arrived.append(Arrived(series_key(study, series, run.secret), frozenset(listed), contents, whole))


def _receive_again(run: Run, study: str, series: str) -> tuple[Counter[str], list[str]]:
    """Receive a series, once more after a while where it broke off; of one that fails in the end nothing is kept."""
    tried = 0
    while True:
        folder = run.spool.series(study, series)
        try:
            return _receive(run, study, series, folder)
        except SiameseMedError as error:
            run.spool.discard(folder)
            tried += 1
            if tried == run.tries or not isinstance(error, BrokenOffError):
                raise
        time.sleep(2 ** (tried - 1))


def _receive(run: Run, study: str, series: str, folder: Path) -> tuple[Counter[str], list[str]]:
    """Put a series into the spool as it arrives; gives how often each instance came, and the files' hashes.

    A file of another study or series was not asked for and is not kept; what is no DICOM has no UID and is.
    """
    came: Counter[str] = Counter()
    contents: list[str] = []
    for data in run.archive.files(study, series):
        one = reconciliation.copy_of(data)
        if one is not None and (one.study, one.series) != (study, series):
            came[""] += 1
            continue
        contents.append(run.spool.take(folder, data))
        came[one.sop if one is not None else ""] += 1
        if one is not None:
            run.ledger.came(one, data)
    return came, contents


def _result(run: Run) -> Ingested:
    """The account of all files that the query stands for, fetched now or known from before, and their scans."""
    transfer = run.transfer
    transfer.sent, transfer.not_returned = run.ledger.sent, run.ledger.not_returned()
    if run.failure and not run.words:
        if isinstance(run.failure, TransferError):
            run.failure.facts = {"transfer": asdict(transfer)}
        raise run.failure
    outcomes: Counter[str] = Counter()
    for word, count in run.words.items():
        outcomes[reasons.outcome(word)] += count
    named = {word: count for word, count in run.words.items() if word}
    return Ingested(catalogue.account_of(outcomes, named), run.history.scans(run.keys), transfer)
