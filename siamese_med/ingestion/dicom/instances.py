"""Facts kept of one DICOM file: patient, series, positions of its planes, and the place of its pixels on disk.

Positions and directions are DICOM's: LPS millimetres (x to the patient's left, y to posterior, z to superior; DICOM
PS3.3, section C.7.6.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from siamese_med.ingestion import machine_errors
from siamese_med.ingestion.inputs import open_files, time_limits
from siamese_med.ingestion.reasons import RejectedError
from siamese_med.study.vocabulary import ContrastSource

Numbers = tuple[float, ...]


T = TypeVar("T", bound=Hashable)


@lru_cache(maxsize=1024)
def share_value(value: T) -> T:
    """Return the first of equal values, so that what all slices of a series have is held, pickled and unpacked once.

    Examples
    --------
    >>> share_value((1.5, "SE")) is share_value((1.5, "SE"))
    True
    """
    return value


@dataclass(frozen=True)
class PixelStorage:
    """Layout of the pixels in the file.

    `offset` is the byte where uncompressed pixels start, or None where pydicom has to decode them. `encoded` is the
    range of bytes of the pixels, compressed or not; (0, 0) means the whole file. `tiles` are rows and columns of a
    mosaic's tiles.
    """

    path: str
    size: int
    offset: int | None
    encoded: tuple[int, int]
    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    big_endian: bool
    masked: bool  # whether bits above bits_stored hold something else, such as an overlay
    tiles: tuple[int, int] | None = None
    low_bits: int = 0  # bits below the values, by HighBit

    @property
    def native_bytes(self) -> int:
        """Bytes that the pixels of all frames take when uncompressed, from rows, columns and bits allocated."""
        return self.rows * self.columns * self.frames * ((self.bits_allocated + 7) // 8)


@dataclass(frozen=True)
class SlicePlane:
    """One slice. `index` is the frame of its file, or the tile of a mosaic.

    `position` is the centre of the first voxel and `orientation` holds the unit vectors along a row and down a column,
    both LPS; `spacing` is between rows, then between columns, in mm. `time` orders repeats of a slice.
    """

    file: str
    index: int
    rows: int
    columns: int
    position: Numbers | None  # centre of the first voxel, LPS mm
    orientation: Numbers | None  # unit vectors along a row and down a column
    spacing: Numbers | None  # between rows, between columns, mm
    slope: float
    intercept: float
    content: tuple[
        tuple[str, object], ...
    ]  # what separates volumes at one position: image type, echo, kernel, energy, ...
    time: Numbers  # orders repeats; indices are named in repeated_positions, the last is the instance number
    frame: tuple[str, str]  # frame of reference, stack
    instance: int | None

    @property
    def component(self) -> str:
        """The component of the complex signal: magnitude, phase, real or imaginary.

        Planes of different components belong to different volumes.
        """
        return str(dict(self.content)["component"])


@dataclass(frozen=True)
class ScanFacts:
    """Facts about a scan besides its voxels; they leave the program only as closed vocabulary or as a pseudonym."""

    modality: str = "unknown"
    contrast: str = "unknown"
    date: date | None = None
    clock: str = ""
    number: int = 0
    scanner: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    field_map: bool = False
    contrast_source: ContrastSource = ContrastSource.NONE
    contrast_confidence: float | None = None
    acquired: str = ""  # day and time of day of the acquisition; empty where not both are known
    person: tuple[tuple[str, tuple[str, ...]], ...] = ()  # see person_traits.PersonTraits
    acquisition: tuple[tuple[str, float | str], ...] = ()  # see acquisition.AcquisitionFacts


@dataclass(frozen=True)
class DicomInstance:
    """One DICOM file with a readable header; `flaw` is a reason word where something is wrong with its pixels."""

    content: str  # SHA-256 of the file
    issuer: str
    patient: str
    study: str
    series: str
    sop: str
    facts: ScanFacts
    storage: PixelStorage
    planes: tuple[SlicePlane, ...]
    flaw: str = ""

    @property
    def day(self) -> date | None:
        """Date of the scan, or None where no element has a valid one, see `scan_facts.DATE_KEYWORDS`."""
        return self.facts.date

    def pixel_digest(self) -> str:
        """Compute the SHA-256 of the pixels as they are stored.

        The file is read again, since hardly any slice is ever compared with another.

        Raises
        ------
        RejectedError
            The file cannot be read now; the reason is that of the machine error, or `read_error`.
        """
        try:
            return time_limits.call_with_time_limit(self._pixel_digest)
        except OSError as error:
            raise RejectedError(
                machine_errors.find_machine_error_reason(error) or "read_error", self.content
            ) from error

    def _pixel_digest(self) -> str:
        start, end = self.storage.encoded
        with open_files.open_regular_file(Path(self.storage.path)) as file:
            file.seek(start)
            return hashlib.sha256(file.read(end - start) if end else file.read()).hexdigest()
