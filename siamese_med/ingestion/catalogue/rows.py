"""The rows of the catalogue's tables as typed dictionaries, and the tables' names.

The column types are those that SQLAlchemy gives back. Every key, label and claim is an HMAC under the pseudonym secret,
every date is shifted, and no row holds a path of the input or an identifier in plain text.
"""

from __future__ import annotations

from typing import Generic, TypedDict, TypeVar

RowT = TypeVar("RowT")


class CatalogueTable(str, Generic[RowT]):
    """The name of a table. The type parameter is the type of the table's rows, for static type checkers only.

    Examples
    --------
    >>> FILE_TABLE == "file"
    True
    """

    __slots__ = ()


class FileRow(TypedDict):
    """One content that was seen: SHA-256 and claim, size in bytes, and what became of it."""

    sha256: str
    claim: str
    size: int
    outcome: str
    reason: str
    scan: str
    series: str


class PathRow(TypedDict):
    """One path of an input: HMAC of the path, the content that lay there, and the file's size, time and inode."""

    key: str
    sha256: str
    claim: str
    input: str
    size: int
    changed_ns: int
    inode: int


class SeriesRow(TypedDict):
    """One group of files that were judged together, usually a DICOM series."""

    key: str
    label: str
    subjects: list[str]
    visit: str
    date: str | None
    modality: str
    contrast: str
    source: str
    slices: int


class SubjectRow(TypedDict):
    """One subject with the sealed (encrypted) identifier behind the pseudonym."""

    subject: str
    sealed: str


class ThumbnailRow(TypedDict):
    """The thumbnail of one scan, as the bytes of a WebP image."""

    id: str
    picture: bytes


class SessionRow(TypedDict):
    """One session of a subject: HMAC of the visit, session number from 1, shifted date."""

    subject: str
    key: str
    number: int
    date: str | None


class NameRow(TypedDict):
    """The id, subject and session that were given to one volume."""

    key: str
    id: str
    subject: str
    session: str
    series: str


class ScanRow(TypedDict):
    """One scan: the columns of `study.tables.SCAN_COLUMNS`, its group of files, and its count of NaN voxels.

    `person` holds HMACs of what the header says of the person, `likeness` is that of the identifier without what may be
    written in two ways; empty where the input names nobody. `acquisition` are fields of the side-car, see
    `dicom.acquisition`.
    """

    id: str
    subject: str
    session: str
    date: str | None
    modality: str
    contrast: str
    scanner: str
    protocol: str
    shape: list[int]
    spacing_mm: list[float]
    affine: list[list[float]]
    path: str
    sha256: str
    flags: list[str]
    source: str
    changed: int | None
    mask: str | None
    contrast_source: str
    contrast_confidence: float | None
    acquired: str | None
    lesions: str | None
    difference: str | None
    since: str | None
    series: str
    nan_voxels: int
    person: dict[str, list[str]]
    likeness: str
    acquisition: dict[str, float | str]


class AlarmRow(TypedDict):
    """A scan with this content (SHA-256) that looks like another patient's."""

    scan: str
    sha256: str


class TransferRow(TypedDict):
    """One series that a pull from a PACS brought: signature of its instances, rules, and files by reason word."""

    key: str
    signature: str
    rules: str
    outcomes: dict[str, int]


class VerdictRow(TypedDict):
    """The digest of the rules under which the outcome of one content was decided."""

    sha256: str
    claim: str
    rules: str


class MetaRow(TypedDict):
    """A fact about the catalogue itself, such as its layout version."""

    key: str
    value: str


FILE_TABLE: CatalogueTable[FileRow] = CatalogueTable("file")
"""Names of the tables, for `Catalogue.rows`, `select_rows` and `read_catalogue_rows`."""

PATH_TABLE: CatalogueTable[PathRow] = CatalogueTable("path")
SERIES_TABLE: CatalogueTable[SeriesRow] = CatalogueTable("series")
SUBJECT_TABLE: CatalogueTable[SubjectRow] = CatalogueTable("subject")
THUMBNAIL_TABLE: CatalogueTable[ThumbnailRow] = CatalogueTable("thumbnail")
SESSION_TABLE: CatalogueTable[SessionRow] = CatalogueTable("session")
NAME_TABLE: CatalogueTable[NameRow] = CatalogueTable("name")
SCAN_TABLE: CatalogueTable[ScanRow] = CatalogueTable("scan")
ALARM_TABLE: CatalogueTable[AlarmRow] = CatalogueTable("alarm")
TRANSFER_TABLE: CatalogueTable[TransferRow] = CatalogueTable("transfer")
VERDICT_TABLE: CatalogueTable[VerdictRow] = CatalogueTable("verdict")
META_TABLE: CatalogueTable[MetaRow] = CatalogueTable("meta")
