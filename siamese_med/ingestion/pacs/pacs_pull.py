"""A pull from a PACS: new series are fetched one by one, checked for completeness, and ingested like a folder."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

from siamese_med.errors import AddressError, EmptyInputError, SiameseMedError, TransferError
from siamese_med.ingestion import ingest_folder, reasons
from siamese_med.ingestion.catalogue.file_tallies import build_account
from siamese_med.ingestion.inputs.entries import compute_series_key
from siamese_med.ingestion.pacs import reconciliation, server_errors
from siamese_med.ingestion.pacs.dicomweb_client import DicomwebServer, ListedStudy
from siamese_med.ingestion.pacs.pull_history import PulledSeries, PullHistory
from siamese_med.ingestion.pacs.reconciliation import TransferLedger
from siamese_med.ingestion.pacs.server_errors import BrokenOffError, UnreachableError
from siamese_med.ingestion.pacs.spool import Spool, open_spool
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms, load_pseudonyms
from siamese_med.runtime import progress
from siamese_med.study.config import IngestConfig
from siamese_med.study.input_source import Pull
from siamese_med.study.tables import IngestResult, PacsTransfer

MAX_SPOOL_BYTES = 4 * 10**9
"""Bytes in the spool at which it is ingested and emptied; it limits disk space and keeps ingest runs few."""

MAX_FAILURES_IN_A_ROW = 3
"""Studies in a row without an answer after which the server counts as down and the rest is not tried."""


@dataclass
class PullRun:
    """The state of one pull. `arrived` holds the series in the spool, `keys` those that match the query."""

    archive: DicomwebServer
    spool: Spool
    history: PullHistory
    ledger: TransferLedger
    secret: Pseudonyms
    tries: int
    transfer: PacsTransfer = field(default_factory=PacsTransfer)
    words: Counter[str] = field(default_factory=Counter)  # reason words of files, the empty one for ingested
    arrived: list[PulledSeries] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    failure: SiameseMedError | None = None  # the last error
    unreachable: int = 0  # studies in a row for which the server did not answer


def ingest_from_pacs(pull: Pull, data: Path, catalogue_url: str, config: IngestConfig) -> IngestResult:
    """Fetch new series from a PACS and ingest them; a study that cannot be fetched is counted as failed.

    Parameters
    ----------
    pull
        Address, query, and the folder of files that were sent before, if any.
    data
        The data folder; the spool is a private folder in it.
    catalogue_url
        SQLAlchemy URL of the catalogue.
    config
        Limits, time limit and number of tries.

    Returns
    -------
    IngestResult
        The account of all files that match the query, fetched now or before, their scans, and the transfer counts.

    Raises
    ------
    TransferError, AddressError, EmptyInputError, MissingFileError, SecretError
        Nothing could be fetched, no study matches, or the folder of sent files or the secret is missing.
    """
    secret = load_pseudonyms(config.secret_file)
    with server_errors.silence_pacs_libraries(), open_spool(data, secret) as spool:
        ledger = TransferLedger(pull.sent)
        server = DicomwebServer(pull, config)
        waiting = deque(server.studies())
        if not waiting:
            raise EmptyInputError("no study of the PACS matches the query: check its keys and values")
        history = PullHistory(data, catalogue_url, secret, config)
        run = PullRun(server, spool, history, ledger, secret, config.transfer_tries, PacsTransfer(studies=len(waiting)))
        while waiting:
            _fetch(run, waiting)
            if spool.size:
                account = ingest_folder.ingest_files(spool.folder, data, catalogue_url, config).account
                run.words.update({"": account.ingested, **account.reasons})
            run.history.write(run.arrived)
            run.arrived = []
            spool.clear()
        return _result(run)


def _fetch(run: PullRun, waiting: deque[ListedStudy]) -> None:
    """Fetch studies until the spool is full or none is left."""
    with progress.show_progress("pulling", sum(study.announced for study in waiting), "files") as advance:
        while waiting and run.spool.size < MAX_SPOOL_BYTES:
            if run.unreachable >= MAX_FAILURES_IN_A_ROW:
                run.transfer.failed += len(waiting)
                waiting.clear()
                return
            study = waiting.popleft()
            _fetch_study(run, study)
            advance(study.announced)


def _fetch_study(run: PullRun, study: ListedStudy) -> None:
    """Fetch the new or changed series of a study; an error ends this study, complete series are kept."""
    try:
        listed = run.archive.instances(study)
        fresh = {series for series, instances in listed.items() if not _is_unchanged(run, study.uid, series, instances)}
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


def _is_unchanged(run: PullRun, study: str, series: str, listed: set[str]) -> bool:
    """Tell whether a series needs no transfer.

    Files that were sent before are always fetched, since only their content can be compared.
    """
    key = compute_series_key(study, series, run.secret)
    run.keys.add(key)
    if (study, series) in run.ledger.series or not run.history.stands(key, listed):
        return False
    run.words.update(run.history.outcomes(key))
    return True


def _fetch_series(run: PullRun, study: str, series: str, listed: set[str], announced: int) -> None:
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
    run.arrived.append(PulledSeries(compute_series_key(study, series, run.secret), frozenset(listed), contents, whole))


def _receive_again(run: PullRun, study: str, series: str) -> tuple[Counter[str], list[str]]:
    """Receive a series, with further tries after a pause where it broke off; a series that fails is discarded."""
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


def _receive(run: PullRun, study: str, series: str, folder: Path) -> tuple[Counter[str], list[str]]:
    """Receive a series into the spool; return how often each instance came, and the hashes of the files.

    A file of another study or series was not asked for and is not kept. A file that is no DICOM has no UID and is kept.
    """
    came: Counter[str] = Counter()
    contents: list[str] = []
    for data in run.archive.files(study, series):
        one = reconciliation.fingerprint_dicom(data)
        if one is not None and (one.study, one.series) != (study, series):
            came[""] += 1
            continue
        contents.append(run.spool.take(folder, data))
        came[one.sop if one is not None else ""] += 1
        if one is not None:
            run.ledger.came(one, data)
    return came, contents


def _result(run: PullRun) -> IngestResult:
    """Make the account of all files that match the query, fetched now or known before, with their scans."""
    transfer = run.transfer
    transfer.sent, transfer.not_returned = run.ledger.sent, run.ledger.not_returned()
    if run.failure and not run.words:
        if isinstance(run.failure, TransferError):
            run.failure.facts = {"transfer": asdict(transfer)}
        raise run.failure
    outcomes: Counter[str] = Counter()
    for word, count in run.words.items():
        outcomes[reasons.get_outcome(word)] += count
    named = {word: count for word, count in run.words.items() if word}
    return IngestResult(build_account(outcomes, named), run.history.scans(run.keys), transfer)
