"""The scans whose lesions are followed: one a visit, since two scans of one visit are not two dates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ScanWithLesions:
    """A scan with a mask of its lesions. Paths are relative to the data folder; `contrast` is that of its time line.

    `image` is the scan itself, `content` its digest, and `brain` its segmentation; None where no brain was found.
    `protocol` and `slices` decide between two scans of one visit, see `choose_one_a_visit`.
    """

    id: str
    session: str
    contrast: str
    lesions: str
    image: str
    content: str
    flags: tuple[str, ...] = ()
    brain: str | None = None
    protocol: str | None = None
    slices: int = 0


def choose_one_a_visit(placed: Mapping[ScanWithLesions, NDArray[np.float64] | None]) -> list[ScanWithLesions]:
    """Choose one scan of each visit, in the order of time.

    A scan that could be registered goes before one that could not; then the protocol that most visits have, so that
    like is compared with like; then the scan with most slices; then the first by its id.

    Parameters
    ----------
    placed
        The marked scans of one contrast in the order of time, and how each lies; None where nothing tells.
    """
    visits = Counter(protocol for _, protocol in {(scan.session, scan.protocol) for scan in placed})
    best: dict[str, ScanWithLesions] = {}
    for scan in sorted(placed, key=lambda one: (placed[one] is None, -visits[one.protocol], -one.slices, one.id)):
        best.setdefault(scan.session, scan)
    return [scan for scan in placed if best[scan.session] == scan]
