"""Record of what earlier pulls fetched, series by series, so that a nightly pull fetches only what is new.

Only complete series that were ingested are recorded, so after an interrupted pull the others are fetched again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from siamese_med.ingestion import verdict_rules
from siamese_med.ingestion.catalogue import catalogue as catalogues
from siamese_med.ingestion.catalogue.catalogue import Catalogue
from siamese_med.ingestion.catalogue.face_setting import decide_defacing
from siamese_med.ingestion.catalogue.rows import (
    FILE_TABLE,
    META_TABLE,
    SCAN_TABLE,
    TRANSFER_TABLE,
    ScanRow,
    TransferRow,
)
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.ingestion.run_state import read_joined_keys
from siamese_med.runtime import files
from siamese_med.study.config import IngestConfig


@dataclass
class PulledSeries:
    """A series that was fetched: its key (an HMAC), the instances listed, the files' hashes, and whether all came."""

    key: str
    listed: frozenset[str]
    contents: list[str] = field(default_factory=list)
    whole: bool = False


class PullHistory:
    """The catalogue's table of transfers. It is read once, and opened under the ingest lock for each access."""

    def __init__(self, data: Path, url: str, secret: Pseudonyms, config: IngestConfig) -> None:
        self._data, self._url, self._secret = data, url, secret
        with self._catalogue() as catalogue:
            config = decide_defacing(config, catalogue)
            self._rules = f"{config.fingerprint()} {verdict_rules.compute_rules_digest(config)}"
            self._rows = {row["key"]: row for row in catalogue.rows(TRANSFER_TABLE)}
            self._joined = _read_joined(catalogue)
            self._there: dict[str, bool] = {}
            self._bound: set[str] = set()
            for row in catalogue.rows(SCAN_TABLE):
                series = row["series"]
                self._there[series] = self._there.get(series, True) and (data / row["path"]).is_file()
                self._bound |= (
                    {series}
                    if verdict_rules.scan_depends_on_rules(row["flags"], row["shape"], config, row["contrast_source"])
                    else set()
                )

    def stands(self, key: str, listed: Iterable[str]) -> bool:
        """Tell whether a series needs no transfer.

        Parameters
        ----------
        key
            HMAC of the series.
        listed
            UIDs of the instances that the server lists now.

        Returns
        -------
        bool
            True where the list is the same as before, the scans still exist, and neither the rules nor an error of the
            machine could change the outcome.
        """
        row = self._rows.get(key)
        if row is None or row["signature"] != self._signature(listed):
            return False
        if any(verdict_rules.is_machine_reason(word) for word in row["outcomes"]):
            return False
        judged = self._joined.get(key, key)
        bound = judged in self._bound or any(verdict_rules.refusal_depends_on_rules(word) for word in row["outcomes"])
        return (not bound or row["rules"] == self._rules) and self._there.get(judged, "" not in row["outcomes"])

    def outcomes(self, key: str) -> dict[str, int]:
        """Return the number of files of a series by reason word; the empty word stands for ingested files.

        The series must be one for which `stands` is true.
        """
        return dict(self._rows[key]["outcomes"])

    def write(self, series: Iterable[PulledSeries]) -> None:
        """Record the series that were complete and are ingested.

        A series with a missing instance, or with a file that the catalogue does not know, is skipped, so that it is
        fetched again by the next pull.
        """
        rows: list[TransferRow] = []
        with self._catalogue() as catalogue:
            for one in series:
                known = {row["sha256"]: row["reason"] for row in catalogue.rows(FILE_TABLE, "sha256", one.contents)}
                if one.whole and known.keys() == set(one.contents):
                    outcomes = Counter(known.values())
                    signature = self._signature(one.listed)
                    rows.append({"key": one.key, "signature": signature, "rules": self._rules, "outcomes": outcomes})
            catalogue.write({"transfer": rows})

    def scans(self, keys: Iterable[str]) -> list[ScanRow]:
        """Return the scan rows of some series, given by their keys, with wrong-patient alarms among the flags."""
        with self._catalogue() as catalogue:
            joined = _read_joined(catalogue)
            return catalogue.scans_of({joined.get(key, key) for key in keys})

    def _signature(self, listed: Iterable[str]) -> str:
        return self._secret.label("transfer", *sorted(listed))

    @contextmanager
    def _catalogue(self) -> Iterator[Catalogue]:
        with files.hold_exclusive_lock(self._data / catalogues.INGEST_LOCK_FILE):
            catalogue = Catalogue(self._url, self._secret.label("catalogue"))
            try:
                yield catalogue
            finally:
                catalogue.close()


def _read_joined(catalogue: Catalogue) -> dict[str, str]:
    return read_joined_keys({row["key"]: row["value"] for row in catalogue.rows(META_TABLE)})
