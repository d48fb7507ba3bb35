"""What is kept of one DICOM file: who, which series, where its planes lie, and where its pixels are on disk.

Positions and directions are DICOM's own: LPS millimetres (x to the patient's left, y to the back, z to the head).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from siamese_med.ingestion import machine_errors
from siamese_med.ingestion.inputs import open_files, time_limits
from siamese_med.ingestion.reasons import RejectedError

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class PixelStorage:
    """How the pixels lie in the file; `offset` is None where they have to be decoded by pydicom."""

    path: str
    size: int
    offset: int | None
    encoded: tuple[int, int]  # where the pixels' bytes are in the file, compressed or not; (0, 0): all of it
    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    big_endian: bool
    masked: bool  # do bits above bits_stored carry something else?
    tiles: tuple[int, int] | None = None  # rows and columns of one tile of a mosaic

    @property
    def native_bytes(self) -> int:
        """Bytes that uncompressed pixels take."""
        return self.rows * self.columns * self.frames * ((self.bits_allocated + 7) // 8)


@dataclass(frozen=True)
class SlicePlane:
    """One slice: `index` is the frame of its file, or the tile of a mosaic."""

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
    ]  # what tells volumes of one place apart: image type, echo, kernel, energy, ...
    time: Numbers  # what orders repeats; `repeats` names its places, the last is the instance number
    frame: tuple[str, str]  # frame of reference, stack
    instance: int | None

    @property
    def component(self) -> str:
        """magnitude, phase, real or imaginary."""
        return str(dict(self.content)["component"])


@dataclass(frozen=True)
class ScanFacts:
    """What may be known of a scan beside its voxels; goes out only as closed words or under a pseudonym."""

    modality: str = "unknown"
    contrast: str = "unknown"
    date: date | None = None
    clock: str = ""
    number: int = 0
    scanner: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    field_map: bool = False


@dataclass(frozen=True)
class DicomInstance:
    """One DICOM file whose header could be read; `flaw` names what is wrong with its pixels, if anything."""

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
        """Day of the scan."""
        return self.facts.date

    def pixel_digest(self) -> str:
        """SHA-256 of the pixels as they are stored; read anew, since hardly any slice is ever compared with another.

        Raises RejectedError where it cannot be read now.
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
