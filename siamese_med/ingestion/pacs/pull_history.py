"""What earlier pulls brought, series by series, so that a nightly pull costs by what is new.

Only series that came whole and went through ingest are written down, so a killed pull asks for the others again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from siamese_med.ingestion import verdict_rules
from siamese_med.ingestion.catalogue import catalogue as catalogues
from siamese_med.ingestion.catalogue.catalogue import Catalogue
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.runtime import files
from siamese_med.study.config import IngestConfig


@dataclass
class PulledSeries:
    """A series that was pulled: its key (an HMAC), the instances listed, the files that came, and whether all did."""

    key: str
    listed: frozenset[str]
    contents: list[str] = field(default_factory=list)
    whole: bool = False


class PullHistory:
    """The catalogue's table of transfers."""

    def __init__(self, data: Path, url: str, secret: Pseudonyms, config: IngestConfig) -> None:
        self._data, self._url, self._secret = data, url, secret
        self._rules = f"{config.fingerprint()} {verdict_rules.compute_rules_digest(config)}"
        with self._catalogue() as catalogue:
            self._rows = {row["key"]: row for row in catalogue.rows("transfer")}
            self._there: dict[str, bool] = {}
            self._bound: set[str] = set()
            for row in catalogue.rows("scan"):
                series = row["series"]
                self._there[series] = self._there.get(series, True) and (data / row["path"]).is_file()
                self._bound |= (
                    {series} if verdict_rules.scan_depends_on_rules(row["flags"], row["shape"], config) else set()
                )

    def stands(self, key: str, listed: Iterable[str]) -> bool:
        """Whether a series is listed as it was, its scans are still there, and its verdict by the rules that hold."""
        row = self._rows.get(key)
        if row is None or row["signature"] != self._signature(listed):
            return False
        if any(verdict_rules.is_machine_reason(word) for word in row["outcomes"]):
            return False
        bound = key in self._bound or any(verdict_rules.refusal_depends_on_rules(word) for word in row["outcomes"])
        return (not bound or row["rules"] == self._rules) and self._there.get(key, "" not in row["outcomes"])

    def outcomes(self, key: str) -> dict[str, int]:
        """How many files of a series became what: reason words, the empty one for ingested."""
        return dict(self._rows[key]["outcomes"])

    def write(self, series: Iterable[PulledSeries]) -> None:
        """Write down what came whole and was ingested."""
        rows = []
        with self._catalogue() as catalogue:
            for one in series:
                known = {row["sha256"]: row["reason"] for row in catalogue.rows("file", "sha256", one.contents)}
                if one.whole and known.keys() == set(one.contents):
                    outcomes = Counter(known.values())
                    signature = self._signature(one.listed)
                    row = {"key": one.key, "signature": signature, "rules": self._rules, "outcomes": outcomes}
                    rows.append(row)
            catalogue.write({"transfer": rows})

    def scans(self, keys: Iterable[str]) -> list[dict[str, Any]]:
        """Scan rows of some series."""
        with self._catalogue() as catalogue:
            return catalogue.scans_of(keys)

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
