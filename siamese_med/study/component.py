"""One part of a change map, as scoring finds it, the score table keeps it and the report shows it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from siamese_med.study import table_cells
from siamese_med.study.vocabulary import UNKNOWN, ComponentKind


@dataclass(frozen=True)
class Component:
    """A part of the change map: what became of it, where it lies (mm, the template's and the earlier scan's).

    `p`: how often a rescan's whole map is as strong as this part alone. `finding`: its number, the same in all pairs of
    the patient and in every run; None for a part that is no stronger than a rescan, and where the pair has not changed.
    """

    kind: str  # a word of vocabulary.ComponentKind
    volume_ml: float | None
    sign: int | None  # +1 brighter, -1 darker in the later scan
    p: float | None
    position_mm: tuple[float | None, ...]  # centre, RAS+ mm of the template; None without one
    earlier_mm: tuple[float | None, ...]  # centre, RAS+ mm of the earlier scan
    region: str | None = None  # of the brain, in words; None outside it, and where it is not known
    finding: int | None = None

    def to_json(self) -> Mapping[str, Any]:
        """Return the component as JSON values, as a pair's record and the score table hold it."""
        return {
            "volume_ml": self.volume_ml,
            "position_mm": list(self.position_mm),
            "earlier_mm": list(self.earlier_mm),
            "sign": self.sign,
            "kind": str(self.kind),
            "p": self.p,
            "region": self.region,
            "finding": self.finding,
        }

    @classmethod
    def from_json(cls, part: Mapping[str, Any]) -> Component:
        """Read what `to_json` returned, also after a table has made arrays of the lists.

        Missing or unreadable values become None, or `unknown` for the kind.
        """
        return cls(
            kind=table_cells.parse_text(part.get("kind")) or UNKNOWN,
            volume_ml=table_cells.parse_number(part.get("volume_ml")),
            sign=table_cells.parse_integer(part.get("sign")),
            p=table_cells.parse_number(part.get("p")),
            position_mm=table_cells.parse_numbers(part.get("position_mm")),
            earlier_mm=table_cells.parse_numbers(part.get("earlier_mm")),
            region=table_cells.parse_text(part.get("region")),
            finding=table_cells.parse_integer(part.get("finding")),
        )


def list_two_way_findings(parts: Sequence[Component]) -> list[tuple[int, ...]]:
    """List the findings of a pair that became brighter in one part and darker in another.

    A lesion of another shape looks so. So does tissue that was pushed aside, and scans that are not exactly registered.

    Parameters
    ----------
    parts
        All parts of the pair.

    Returns
    -------
    list of tuple of int
        The numbers of the parts, from 1, of each such finding.
    """
    found: dict[int, list[int]] = defaultdict(list)
    for place, part in enumerate(parts, start=1):
        if part.finding is not None:
            found[part.finding].append(place)
    return [tuple(mine) for mine in found.values() if {1, -1} <= {parts[place - 1].sign for place in mine}]


def call_two_way_findings(parts: Sequence[Component]) -> tuple[Component, ...]:
    """Call the parts of such findings brighter or darker: none of them alone says that tissue is new or vanished."""
    mixed = {place for mine in list_two_way_findings(parts) for place in mine}
    words = {1: ComponentKind.BRIGHTER, -1: ComponentKind.DARKER}
    return tuple(
        replace(part, kind=words.get(part.sign or 0, part.kind)) if place in mixed else part
        for place, part in enumerate(parts, start=1)
    )
