"""What one ingest run knows, and what the catalogue knew before it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from siamese_med.config import IngestConfig
from siamese_med.ingestion.catalogue import Catalogue
from siamese_med.ingestion.entries import Entry, Unit
from siamese_med.ingestion.secret import Pseudonyms
from siamese_med.ingestion.workers import Workers


class Fate(NamedTuple):
    """What became of a unit: the reason word (empty: ingested), its scan, and the group it was judged with."""

    outcome: str
    reason: str
    scan: str
    series: str


class Place(NamedTuple):
    """What the catalogue knows of a path: what the system said of the file, and which unit it was."""

    stat: tuple[int, int, int]
    unit: Unit


@dataclass
class Run:
    """A run at work. Rows of the catalogue are loaded as far as this input touches them."""

    data: Path
    config: IngestConfig
    secret: Pseudonyms
    catalogue: Catalogue
    workers: Workers
    entries: list[Entry] = field(default_factory=list)
    paths: dict[str, Place] = field(default_factory=dict)  # by key, of this input
    fates: dict[Unit, Fate] = field(default_factory=dict)
    usable: set[Unit] = field(default_factory=set)  # units whose earlier outcome still stands
    same_rules: bool = True  # as in the last run
    shown: bool = True  # is what the last run found on the ingest page?
    scans_there: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Read which scans are there and which rules they were judged by."""
        before = {row["key"]: row["value"] for row in self.catalogue.rows("meta")}
        self.same_rules = before.get("rules", self._rules()) == self._rules()
        self.shown = before.get("shown") == "yes"
        self.scans_there = {row["id"] for row in self.catalogue.rows("scan") if (self.data / row["path"]).is_file()}

    def end(self) -> None:
        """Note the rules of this run, now that everything was judged by them."""
        self.catalogue.write({"meta": [{"key": "rules", "value": self._rules()}]})

    def _rules(self) -> str:
        return self.config.model_dump_json(include={"min_slices", "max_gigabytes", "volume_of_4d"})

    def load_paths(self) -> None:
        """Read what is known of this input's paths."""
        for row in self.catalogue.rows("path", "key", (entry.key for entry in self.entries)):
            stat = (row["size"], row["changed_ns"], row["inode"])
            self.paths[row["key"]] = Place(stat, (row["sha256"], row["claim"]))

    def load_fates(self, column: str, values: Iterable[str]) -> None:
        """Read what became of the units whose `sha256` or `series` is among the values."""
        for row in self.catalogue.rows("file", column, values):
            unit = (row["sha256"], row["claim"])
            if unit not in self.fates:
                fate = Fate(*(sys.intern(row[name]) for name in Fate._fields))
                self.fates[unit] = fate
                if self._stands(fate):
                    self.usable.add(unit)

    def _stands(self, fate: Fate) -> bool:
        """Whether its scan is still there, or it failed by the rules that still hold; what was replaced may return."""
        if fate.outcome == "ingested":
            return fate.scan in self.scans_there
        if fate.reason == "replaced":
            return False
        return fate.outcome != "quarantined" or self.same_rules
