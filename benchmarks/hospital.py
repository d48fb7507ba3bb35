"""A simulated hospital: invented people, three scanners, and the series of an export with their geometry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MR, CT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2"
SERIES_PER_STUDY, STUDIES_PER_PERSON, SERIES_PER_CT = 3, 2, 10
SYLLABLES = ("ka", "lor", "min", "ta", "ver", "ost", "bel", "han", "dri", "sun", "gre", "wol")
SCANNERS = (
    ("SIEMENS", "Skyra", "66021", 3.0, "syngo MR E11"),
    ("GE MEDICAL SYSTEMS", "DISCOVERY MR750", "0000040", 3.0, "27\\LX\\MR Software release"),
    ("Philips Medical Systems", "Ingenia", "41722", 1.5, "5.3.1\\5.3.1.2"),
)
PROTOCOLS = (
    ("t1_mprage_sag", 2300.0, 2.98, 900.0, 9.0, ("GR", "IR")),
    ("t2_tse_tra", 5200.0, 100.0, None, 150.0, ("SE",)),
    ("t2_flair_tra", 9000.0, 110.0, 2500.0, 120.0, ("SE", "IR")),
)


@dataclass(frozen=True)
class Person:
    """An invented patient."""

    name: str
    identifier: str
    birth: str


def person(number: int, seed: int) -> Person:
    """The same number and seed give the same person."""
    random = np.random.default_rng([seed, number, 1])
    family, given = ("".join(random.choice(SYLLABLES, 3)).capitalize() for _ in range(2))
    birth = date(1935, 1, 1) + timedelta(days=int(random.integers(20_000)))
    return Person(f"{family}^{given}", f"MRN{random.integers(10**8, 10**9)}", f"{birth:%Y%m%d}")


@dataclass(frozen=True)
class Series:
    """One series of an export: the `number`-th; `shape` is slices, rows, columns."""

    number: int
    seed: int
    shape: tuple[int, int, int]

    @property
    def study(self) -> int:
        return self.number // SERIES_PER_STUDY

    @property
    def number_in_study(self) -> int:
        return self.number % SERIES_PER_STUDY + 2

    @cached_property
    def person(self) -> Person:
        return person(self.study // STUDIES_PER_PERSON, self.seed)

    @cached_property
    def random(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.number, 2])

    @property
    def date(self) -> str:
        first = date(2012, 1, 9) + timedelta(days=37 * (self.study // STUDIES_PER_PERSON))
        return f"{first + timedelta(days=371 * (self.study % STUDIES_PER_PERSON)):%Y%m%d}"

    @property
    def ct(self) -> bool:
        return self.number % SERIES_PER_CT == SERIES_PER_CT - 1

    @property
    def implicit(self) -> bool:
        return self.number % 4 == 3

    @property
    def scanner(self) -> tuple[str, str, str, float, str]:
        return SCANNERS[self.study % len(SCANNERS)]

    @property
    def siemens(self) -> bool:
        return self.scanner[0] == "SIEMENS" and not self.ct

    @property
    def protocol(self) -> tuple[str, float, float, float | None, float, tuple[str, ...]]:
        return PROTOCOLS[self.number % len(PROTOCOLS)]

    @property
    def description(self) -> str:
        return "CT_HEAD_H31s" if self.ct else self.protocol[0]

    def uid(self, *parts: object) -> str:
        """A UID of its own for each thing of this export, all of one length."""
        digest = hashlib.sha256(repr((self.seed, *parts)).encode()).digest()
        return f"2.25.{10**37 + int.from_bytes(digest, 'big') % 10**37}"


@dataclass(frozen=True)
class Geometry:
    """Directions of a row, a column and the slices (LPS), spacing between rows and columns, gap, first position; mm."""

    row: NDArray[np.float64]
    column: NDArray[np.float64]
    normal: NDArray[np.float64]
    pixel_mm: float
    gap_mm: float
    first: NDArray[np.float64]

    def position(self, index: int) -> NDArray[np.float64]:
        """Centre of the first voxel of a slice."""
        place: NDArray[np.float64] = self.first + index * self.gap_mm * self.normal
        return place


def geometry(one: Series) -> Geometry:
    """Axial pictures, tilted a little (CT: not at all) and shifted, filling 230 mm by 180 mm."""
    pitch, yaw = (0.0, 0.0) if one.ct else one.random.uniform(-0.2, 0.2, 2)
    row = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    column = np.array([-np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
    normal = np.cross(row, column)
    slices, rows, columns = one.shape
    pixel, gap = round(230 / max(rows, columns), 4), round(180 / slices, 3)
    middle = one.random.uniform(-15, 15, 3)
    corner = middle - pixel * (columns - 1) / 2 * row - pixel * (rows - 1) / 2 * column
    return Geometry(row, column, normal, pixel, gap, corner - gap * (slices - 1) / 2 * normal)
