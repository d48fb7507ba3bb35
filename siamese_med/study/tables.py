"""Data that the stages hand to one another: tables with fixed columns, and where every file of a study lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med.study.config import Config
from siamese_med.study.pair_score import Origin
from siamese_med.study.score_columns import names_of
from siamese_med.study.vocabulary import ScanFlag

if TYPE_CHECKING:
    import pandas as pd

SCAN_COLUMNS = (
    "id",  # sub-*_ses-*_*: unique, a file name, no part of it from the input but closed vocabularies
    "subject",  # sub-<pseudonym>
    "session",  # ses-<n>, numbered by date within the subject, stable once given
    "date",  # ISO date shifted by the patient's own offset, or None
    "modality",  # DICOM modality: MR, CT, PT, ...
    "contrast",  # T1w, T1wCE (contrast-enhanced), T2w, FLAIR, PDw, ... or unknown
    "scanner",  # scanner-<pseudonym of maker, model and serial>, or unknown
    "protocol",  # protocol-<pseudonym of sequence timing and matrix>, or unknown
    "shape",  # three voxel counts
    "spacing_mm",  # three edges
    "affine",  # 4x4, voxel to RAS+ millimetres
    "path",  # of the NIfTI, relative to the data folder
    "sha256",  # of the NIfTI's voxels and affine: the scan's content
    "flags",  # words such as date_unknown, inverted, burned_in
    "source",  # dicom or nifti
    "changed",  # 1 or 0 where the manifest says whether this visit changed against the one before, else missing
    "mask",  # of the part to be aligned, on the scan's grid, relative to the data folder; None where none was given
    "contrast_source",  # how the contrast is known: said, header, name, image or none (vocabulary.ContrastSource)
    "acquired",  # acquisition-<pseudonym of its day and time>, equal for two scans of one acquisition; None if unknown
    "contrast_confidence",  # 0 to 1 where the contrast is from the image, else missing
    "lesions",  # the mask of its lesions, on the scan's grid, relative to the data folder; None where none was given
    "difference",  # the mask of what changed since an earlier visit, on the scan's grid; as `lesions`
    "since",  # the session of that visit; None where it is the one before, or no mask was given
)
"""Columns of the scan table, one row a scan."""

OPTIONAL_TEXTS = ("date", "mask", "acquired", "lesions", "difference", "since")
"""Columns of the scan table that hold a text or None."""

PAIR_COLUMNS = names_of(Origin.PAIR)
"""Columns of the pair table, one row a pair: those of `PairScore` that are known before anything is measured."""

SCORE_COLUMNS = names_of()
"""Columns of the score table, one row a pair: the fields of `PairScore`."""

SIGNIFICANCE_ATTRIBUTE = "significance"
"""The score table's attribute that holds the limit of p by which its verdicts were given."""

METHOD_ATTRIBUTE = "method_version"
"""The score table's attribute that holds the version of the measurement; tables before version 20 may lack it."""

OWNER_COLUMNS = (
    "scan",
    "subject",  # under whom it is filed
    "evidence",  # log10 likelihood ratio that it is of this subject, from the subject's other scans; missing: none
    "alarm",  # bool: the scan seems to be another person's
    "owner",  # the subject it fits much better, or None
    "owner_evidence",  # as evidence, for that subject
)
"""Columns of the owner table, one row a scan. An alarm moves nothing: somebody has to look."""

WRONG_PATIENT = str(ScanFlag.WRONG_PATIENT)
"""The flag of a scan under alarm, for as long as the alarm stands."""


@dataclass(frozen=True)
class Study:
    """Folders where one study keeps its files, and its configuration.

    Parameters
    ----------
    data
        Folder of the catalogue, the scans, the models and the tables. A string becomes a path.
    reports
        Folder of the pages; likewise.
    config
        All settings.

    Examples
    --------
    >>> Study("data").scores("supcon-0123456789ab").as_posix()
    'data/scores/supcon-0123456789ab.parquet'
    """

    data: Path = Path("data")
    reports: Path = Path("reports")
    config: Config = field(default_factory=Config)

    if TYPE_CHECKING:  # what a caller may give; the fields are paths

        def __init__(self, data: Path | str = ..., reports: Path | str = ..., config: Config = ...) -> None: ...

    def __post_init__(self) -> None:
        """Make paths of strings."""
        object.__setattr__(self, "data", Path(self.data))
        object.__setattr__(self, "reports", Path(self.reports))

    @property
    def catalogue_url(self) -> str:
        """SQLAlchemy URL of the catalogue."""
        return self.config.ingest.database or f"sqlite:///{self.data / 'catalogue.sqlite'}"

    @property
    def scans(self) -> Path:
        """Folder of the ingested NIfTI files."""
        return self.data / "scans"

    @property
    def prepared(self) -> Path:
        """Folder with one folder for each template and grid."""
        return self.data / "prepared"

    @property
    def pairs(self) -> Path:
        """The pair table (Parquet)."""
        return self.data / "pairs.parquet"

    @property
    def lesions(self) -> Path:
        """The lesion table (Parquet), the same for every model."""
        return self.data / "lesions.parquet"

    @property
    def models(self) -> Path:
        """Folder with one folder for each model."""
        return self.data / "models"

    @property
    def own_folders(self) -> tuple[Path, ...]:
        """Data and reports folder, then those in the data folder: what the study writes is no input of it."""
        parts = ("scans", "prepared", "models", "scores", "findings", "lesions", "answers")
        return (self.data, self.reports, *(self.data / name for name in parts))

    @property
    def files_page(self) -> Path:
        """The page on what came in."""
        return self.reports / "ingest.html"

    def scores(self, model_id: str) -> Path:
        """Return the path of a model's score table (Parquet)."""
        return self.data / "scores" / f"{model_id}.parquet"

    def owners(self, model_id: str) -> Path:
        """Return the path of a model's owner table (Parquet): whose each scan seems to be, by the embeddings."""
        return self.data / "scores" / f"{model_id}_owners.parquet"


@dataclass(frozen=True)
class ReportExtras:
    """Outputs that the report stage writes on request only.

    Parameters
    ----------
    viewer
        A page for each pair, on which one scrolls through both dates.
    pdf
        The patients' pages as PDF.
    dicom
        The folder for DICOM objects for the archive. It is outside the reports, since they hold the patients' names.
    fhir
        Each patient's result as a FHIR R4 bundle, beside the page.
    """

    viewer: bool = False
    pdf: bool = False
    dicom: Path | None = None
    fhir: bool = False


NO_REPORT_EXTRAS = ReportExtras()


@dataclass(frozen=True)
class IngestAccount:
    """Account of every file of one ingest run: `files_seen` is the sum of the four outcomes."""

    files_seen: int
    ingested: int
    skipped: int
    duplicate: int
    quarantined: int
    reasons: dict[str, int]

    def balanced(self) -> bool:
        """Return whether every file is counted exactly once."""
        return self.files_seen == self.ingested + self.skipped + self.duplicate + self.quarantined


@dataclass
class PacsTransfer:
    """The result of a pull from a PACS, in counts alone."""

    studies: int = 0  # that matched
    unchanged: int = 0  # of them: nothing new, so nothing was pulled
    failed: int = 0  # of them: could not be pulled to the end
    series: int = 0  # that were pulled
    listed: int = 0  # instances of these series, by the server's own word
    received: int = 0  # of them
    missing: int = 0  # of them
    twice: int = 0  # came more than once
    unexpected: int = 0  # came although they were not listed
    sent: int = 0  # distinct instances that had been sent to the server, where that is known
    not_returned: int = 0  # of them: the server has not, or has something else in their place


def build_scan_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build the scan table from rows of the catalogue.

    Parameters
    ----------
    rows
        Mappings with SCAN_COLUMNS as keys.

    Returns
    -------
    pandas.DataFrame
        One row a scan, with SCAN_COLUMNS, in the order of the ids. A missing `changed` is NA; a missing date, mask,
        `acquired`, `lesions`, `difference` or `since`, None; a missing `contrast_confidence`, NaN.
    """
    import pandas as pd

    ordered = sorted(rows, key=lambda row: row["id"])
    table = pd.DataFrame([{name: row[name] for name in SCAN_COLUMNS} for row in ordered], columns=list(SCAN_COLUMNS))
    # pandas would make None a number, also where only some scans have a mask or a date
    texts = {name: pd.Series([row[name] for row in ordered], dtype=object) for name in OPTIONAL_TEXTS}
    return table.astype({"changed": "Int64", "contrast_confidence": "float64"}).assign(**texts)


@dataclass(frozen=True)
class IngestResult:
    """The result of the ingest stage.

    Parameters
    ----------
    account
        What became of every file.
    scan_rows
        Rows of the catalogue for the scans that this input's files make up.
    transfer
        Counts of a pull from a PACS.
    new
        Whether anything was new, changed or gone.
    faces_left
        Scans of the catalogue with their face, where faces are to be removed: of inputs that this run did not read.
    """

    account: IngestAccount
    scan_rows: Sequence[Mapping[str, Any]]
    transfer: PacsTransfer | None = None
    new: bool = True
    faces_left: int = 0

    @cached_property
    def scans(self) -> pd.DataFrame:
        """The scans as a frame with SCAN_COLUMNS."""
        return build_scan_table(self.scan_rows)


@dataclass(frozen=True)
class ScanThumbnail:
    """A scan as the ingest page shows it; `thumbnail` is a WebP of three slices.

    `contrast_source` is a word of `ContrastSource`; `contrast_confidence` is set where the image told the contrast.
    """

    id: str
    contrast: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    flags: tuple[str, ...]
    thumbnail: bytes
    contrast_source: str = "none"
    contrast_confidence: float | None = None


@dataclass(frozen=True)
class SeriesAccount:
    """Account of the files of one series; it may bear several `subjects`, or none that anybody names.

    `files`: counts by reason word, the empty word for those that were ingested.
    """

    label: str
    subjects: tuple[str, ...]
    session: str | None
    date: str | None
    modality: str
    contrast: str
    source: str  # dicom, nifti, or nothing where it is neither
    slices: int
    files: dict[str, int]
    scans: tuple[ScanThumbnail, ...]


@dataclass(frozen=True)
class IngestInventory:
    """Every file ever seen: the account, the series by patient, and what belongs to no patient and no series.

    `departed` files were not accepted and have been replaced or removed since, so they are in the account alone.
    `outcomes`, `hints` and `flags` explain the words.
    """

    account: IngestAccount
    series: tuple[SeriesAccount, ...]
    loose: dict[str, int]
    departed: int
    outcomes: dict[str, str]
    hints: dict[str, str]
    flags: dict[str, str]


@dataclass(frozen=True)
class ReportResult:
    """The result of the report stage: the index page, and counts of the DICOM objects, where these were asked for.

    `dicom`: numbers of `objects` and `patients`, and of follow-ups that were `left_out`, by reason word.
    """

    index: Path
    dicom: Mapping[str, Any] | None = None
