"""What one ingest run knows, and what the catalogue knew before it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from siamese_med.ingestion import verdict_rules
from siamese_med.ingestion.catalogue.catalogue import Catalogue
from siamese_med.ingestion.catalogue.tables import ContentUnit
from siamese_med.ingestion.inputs.entries import InputEntry
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.ingestion.workers import Workers
from siamese_med.study.config import IngestConfig
from siamese_med.study.vocabulary import ScanFlag


class UnitOutcome(NamedTuple):
    """What became of a unit: the reason word (empty: ingested), its scan, and the group it was judged with."""

    outcome: str
    reason: str
    scan: str
    series: str


class KnownPath(NamedTuple):
    """What the catalogue knows of a path: what the system said of the file, and which unit it was."""

    stat: tuple[int, int, int]
    unit: ContentUnit


@dataclass
class IngestRun:
    """A run at work. Rows of the catalogue are loaded as far as this input touches them."""

    data: Path
    config: IngestConfig
    secret: Pseudonyms
    catalogue: Catalogue
    workers: Workers
    entries: list[InputEntry] = field(default_factory=list)
    paths: dict[str, KnownPath] = field(default_factory=dict)  # by key, of this input
    fates: dict[ContentUnit, UnitOutcome] = field(default_factory=dict)
    usable: set[ContentUnit] = field(default_factory=set)  # units whose earlier outcome still stands
    kept: set[ContentUnit] = field(
        default_factory=set
    )  # stand for files that cannot be read now, whose content is known
    rules: str = ""  # digest of those that hold
    shown: bool = True  # is what the last run found on the ingest page?
    scans_there: set[str] = field(default_factory=set)
    bound_scans: set[str] = field(
        default_factory=set
    )  # those of them that stand only under the rules they were made by
    unsure_scans: set[str] = field(default_factory=set)  # those that lack something which could not be read

    def begin(self) -> None:
        """Read which scans are there, and which of them might be others by now."""
        self.rules = verdict_rules.compute_rules_digest(self.config)
        before = {row["key"]: row["value"] for row in self.catalogue.rows("meta")}
        self.shown = before.get("shown") == "yes"
        for row in self.catalogue.rows("scan"):
            if not (self.data / row["path"]).is_file():
                continue
            self.scans_there.add(row["id"])
            if verdict_rules.scan_depends_on_rules(row["flags"], row["shape"], self.config):
                self.bound_scans.add(row["id"])
            if ScanFlag.MASK_UNREAD in row["flags"]:
                self.unsure_scans.add(row["id"])

    def load_paths(self) -> None:
        """Read what is known of this input's paths."""
        for row in self.catalogue.rows("path", "key", (entry.key for entry in self.entries)):
            stat = (row["size"], row["changed_ns"], row["inode"])
            self.paths[row["key"]] = KnownPath(stat, (row["sha256"], row["claim"]))

    def load_fates(self, column: str, values: Iterable[str]) -> None:
        """Read what became of the units whose `sha256` or `series` is among the values."""
        bound: set[ContentUnit] = set()
        for row in self.catalogue.rows("file", column, values):
            unit = (row["sha256"], row["claim"])
            if unit not in self.fates:
                fate = UnitOutcome(*(sys.intern(row[name]) for name in UnitOutcome._fields))
                self.fates[unit] = fate
                if self._is_bound(fate):
                    bound.add(unit)
                elif self._stands(fate):
                    self.usable.add(unit)
        for row in self.catalogue.rows("verdict", "sha256", {digest for digest, _ in bound}):
            unit = (row["sha256"], row["claim"])
            if unit in bound and row["rules"] == self.rules and self._stands(self.fates[unit]):
                self.usable.add(unit)

    def _is_bound(self, fate: UnitOutcome) -> bool:
        """Whether an outcome stands only under the rules that it was decided by."""
        return (
            fate.scan in self.bound_scans
            if fate.outcome == "ingested"
            else verdict_rules.refusal_depends_on_rules(fate.reason)
        )

    def _stands(self, fate: UnitOutcome) -> bool:
        """Whether its scan is still there and whole; what may pass never stands, what was replaced may return."""
        if fate.outcome == "ingested":
            return fate.scan in self.scans_there and fate.scan not in self.unsure_scans
        return fate.reason != "replaced" and not verdict_rules.is_machine_reason(fate.reason)
