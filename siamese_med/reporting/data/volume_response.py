"""Response categories of a patient's lesion load by the volume rules of RANO and RECIST, with the error of the volumes.

Both criteria are made for diameters; their limits are carried over to volumes of spheres, as is usual. Sources: Wen et
al., Journal of Clinical Oncology 28:1963, 2010 (RANO) and 41:5187, 2023 (RANO 2.0); Eisenhauer et al., European Journal
of Cancer 45:228, 2009 (RECIST 1.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

CERTAIN_Z = 1.645
"""A limit is passed beyond the error from this many standard deviations on: 95 %, one-sided."""
PROGRESSION, PARTIAL, COMPLETE, STABLE = "progression", "partial response", "complete response", "stable"
NOT_EVALUABLE = "not evaluable"
"""Category of a date whose scan and that of the first date do not show the same lesions."""


@dataclass(frozen=True)
class VolumeRule:
    """Limits of a criterion: percent less than on the first date, and percent more than the smallest volume before."""

    name: str
    least_decrease_percent: float
    least_increase_percent: float


VOLUME_RULES: Mapping[str, VolumeRule] = MappingProxyType(
    {"rano": VolumeRule("RANO", 65.0, 40.0), "recist": VolumeRule("RECIST", 65.7, 72.8)}
)
"""The rules by the word of `report.response`."""


@dataclass(frozen=True)
class VolumeResponse:
    """What the volume of one date means by a rule.

    Attributes
    ----------
    category
        PROGRESSION, PARTIAL, COMPLETE, STABLE or NOT_EVALUABLE.
    beyond_error
        Whether every limit that the category rests on is passed by CERTAIN_Z standard deviations of the volumes; None
        for NOT_EVALUABLE.
    from_first_percent, from_smallest_percent
        Change from the volume of the first date, and from the smallest one before; None where that is zero.
    new_lesions
        Lesions that were not there on the date before. In both criteria a true new lesion is progression by itself; the
        category does not count it, because a mark may be none.
    """

    category: str
    beyond_error: bool | None
    from_first_percent: float | None
    from_smallest_percent: float | None
    new_lesions: int


def assess_volume_response(
    volumes: Sequence[tuple[float, float]], rule: VolumeRule, new_lesions: int = 0
) -> VolumeResponse:
    """Assess the last of a patient's lesion loads.

    Parameters
    ----------
    volumes
        Volume and standard deviation in ml on two dates or more, in the order of time.

    Examples
    --------
    >>> sure = assess_volume_response([(10.0, 0.2), (8.0, 0.2), (20.0, 0.4)], VOLUME_RULES["rano"])
    >>> sure.category, sure.beyond_error, sure.from_first_percent, sure.from_smallest_percent
    ('progression', True, 100.0, 150.0)
    >>> unsure = assess_volume_response([(10.0, 2.0), (14.5, 2.9)], VOLUME_RULES["rano"])
    >>> unsure.category, unsure.beyond_error
    ('progression', False)
    """
    first, smallest, now = volumes[0], min(volumes[:-1]), volumes[-1]
    grown = _standardise(now, smallest, 1 + rule.least_increase_percent / 100)
    shrunk = _standardise(now, first, 1 - rule.least_decrease_percent / 100)
    if grown >= 0 and now[0] > 0:
        category, certain = PROGRESSION, grown >= CERTAIN_Z
    elif now[0] == 0 and first[0] > 0:
        category, certain = COMPLETE, True
    elif shrunk <= 0 < first[0]:
        category, certain = PARTIAL, shrunk <= -CERTAIN_Z
    else:
        category, certain = STABLE, grown <= -CERTAIN_Z and shrunk >= CERTAIN_Z
    return VolumeResponse(category, certain, _percent(now, first), _percent(now, smallest), new_lesions)


def _standardise(now: tuple[float, float], before: tuple[float, float], limit: float) -> float:
    """Compute how far the ratio of two volumes lies above a limit, in standard deviations of its logarithm."""
    if not now[0] or not before[0]:
        return math.inf if now[0] else -math.inf
    above = math.log(now[0] / before[0]) - math.log(limit)
    spread = math.hypot(now[1] / now[0], before[1] / before[0])
    return above / spread if spread else math.copysign(math.inf, above)


def _percent(now: tuple[float, float], before: tuple[float, float]) -> float | None:
    return round(100 * (now[0] / before[0] - 1), 1) if before[0] else None
