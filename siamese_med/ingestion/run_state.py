"""The state of one ingest run, and what the catalogue knew before it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from siamese_med.ingestion import verdict_rules
from siamese_med.ingestion.catalogue.catalogue import Catalogue
from siamese_med.ingestion.catalogue.rows import FILE_TABLE, META_TABLE, PATH_TABLE, SCAN_TABLE, VERDICT_TABLE
from siamese_med.ingestion.catalogue.tables import ContentUnit
from siamese_med.ingestion.inputs.entries import InputEntry
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.ingestion.workers import Workers
from siamese_med.study.config import IngestConfig
from siamese_med.study.vocabulary import ScanFlag

UNREAD_FLAGS = frozenset({ScanFlag.MASK_UNREAD, ScanFlag.LESIONS_UNREAD, ScanFlag.DIFFERENCE_UNREAD})
"""Flags of scans with a mask that could not be read, and that the next run tries again."""

JOINED_KEY_PREFIX = "joined "
"""Prefix of the keys of the catalogue's facts about series that are judged under the key of another one."""


class UnitOutcome(NamedTuple):
    """Result for a unit: outcome, reason word (empty: ingested), its scan, and the group it was judged with."""

    outcome: str
    reason: str
    scan: str
    series: str


class KnownPath(NamedTuple):
    """Facts in the catalogue about a path: size, time (ns) and inode of the file, and the unit it was."""

    stat: tuple[int, int, int]
    unit: ContentUnit


@dataclass
class IngestRun:
    """A run in progress. Rows of the catalogue are loaded only as far as this input needs them."""

    data: Path
    config: IngestConfig
    secret: Pseudonyms
    catalogue: Catalogue
    workers: Workers
    entries: list[InputEntry] = field(default_factory=list)
    paths: dict[str, KnownPath] = field(default_factory=dict)  # by key, of this input
    fates: dict[ContentUnit, UnitOutcome] = field(default_factory=dict)
    usable: set[ContentUnit] = field(default_factory=set)  # units whose earlier outcome still stands
    kept: set[ContentUnit] = field(default_factory=set)  # units of files that cannot be read now and were read before
    rules: str = ""  # digest of the present rules
    joined: dict[str, str] = field(default_factory=dict)  # series that are judged under the key of another one
    shown: bool = True  # whether the ingest page shows what the last run found
    scans_there: set[str] = field(default_factory=set)
    bound_scans: set[str] = field(default_factory=set)  # scans that stand only under the rules they were made by
    input_space: str = ""  # name space of what means nothing outside of this input, see `input_namespaces`
    unsure_scans: set[str] = field(default_factory=set)  # scans with a mask that could not be read

    def begin(self) -> None:
        """Read which scans exist, and which of them might have to be made again.

        A scan may have to be made again under other rules, or because a mask of it could not be read.
        """
        self.rules = verdict_rules.compute_rules_digest(self.config)
        before = {row["key"]: row["value"] for row in self.catalogue.rows(META_TABLE)}
        self.shown = before.get("shown") == "yes"
        self.joined = read_joined_keys(before)
        for row in self.catalogue.rows(SCAN_TABLE):
            if not (self.data / row["path"]).is_file():
                continue
            self.scans_there.add(row["id"])
            if verdict_rules.scan_depends_on_rules(row["flags"], row["shape"], self.config, row["contrast_source"]):
                self.bound_scans.add(row["id"])
            if not UNREAD_FLAGS.isdisjoint(row["flags"]):
                self.unsure_scans.add(row["id"])

    def load_paths(self) -> None:
        """Read what the catalogue knows of this input's paths, by the HMAC of each path."""
        for row in self.catalogue.rows(PATH_TABLE, "key", (entry.key for entry in self.entries)):
            stat = (row["size"], row["changed_ns"], row["inode"])
            self.paths[row["key"]] = KnownPath(stat, (row["sha256"], row["claim"]))

    def load_fates(self, column: str, values: Iterable[str]) -> None:
        """Read the outcomes of units, and which of them still stand.

        Parameters
        ----------
        column
            `sha256` or `series`.
        values
            The values of that column to select.
        """
        bound: set[ContentUnit] = set()
        for row in self.catalogue.rows(FILE_TABLE, column, values):
            unit = (row["sha256"], row["claim"])
            if unit not in self.fates:
                words = (row["outcome"], row["reason"], row["scan"], row["series"])
                fate = UnitOutcome(*map(sys.intern, words))
                self.fates[unit] = fate
                if self._is_bound(fate):
                    bound.add(unit)
                elif self._stands(fate):
                    self.usable.add(unit)
        for verdict in self.catalogue.rows(VERDICT_TABLE, "sha256", {digest for digest, _ in bound}):
            unit = (verdict["sha256"], verdict["claim"])
            if unit in bound and verdict["rules"] == self.rules and self._stands(self.fates[unit]):
                self.usable.add(unit)

    def _is_bound(self, fate: UnitOutcome) -> bool:
        """Whether an outcome stands only under the rules that it was decided by."""
        return (
            fate.scan in self.bound_scans
            if fate.outcome == "ingested"
            else verdict_rules.refusal_depends_on_rules(fate.reason)
        )

    def _stands(self, fate: UnitOutcome) -> bool:
        """Tell whether an outcome stands.

        The scan must still exist and be complete. A temporary error never stands, and a replaced content may return.
        """
        if fate.outcome == "ingested":
            return fate.scan in self.scans_there and fate.scan not in self.unsure_scans
        return fate.reason != "replaced" and not verdict_rules.is_machine_reason(fate.reason)


def read_joined_keys(facts: Mapping[str, str]) -> dict[str, str]:
    """Read from the catalogue's facts which series are judged under the key of another one, see `joined_groups`.

    Examples
    --------
    >>> read_joined_keys({"joined upper": "lower", "layout": "3"})
    {'upper': 'lower'}
    """
    return {
        key.removeprefix(JOINED_KEY_PREFIX): value for key, value in facts.items() if key.startswith(JOINED_KEY_PREFIX)
    }
