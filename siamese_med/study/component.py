"""One part of a change map, as scoring finds it, the score table keeps it and the report shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from siamese_med.study import table_cells
from siamese_med.study.vocabulary import UNKNOWN


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
