"""A prepared scan, as every later stage uses it: its files, its alignment, and one digest of both.

Training, embeddings and pair scores are kept from run to run. Each is looked up by `PreparedScan.content`, so none of
them outlives a change of the scan, its mask, the template, the transform or the method of preparation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

ALIGNMENT_COLUMNS = (
    *("scan", "matrix", "quality", "coverage", "ok", "volume", "brain", "brain_ml", "ventricles_ml", "content"),
)
"""`matrix`: 4x4, template mm to scan mm (RAS+); `quality`: see registration.Alignment; `coverage`: share of the
template's body inside the scan; `ok`: whether quality and coverage suffice; `volume`: path of the aligned voxels,
relative to the data folder; `brain`: that of its brain segmentation, null where no brain was found; `brain_ml` and
`ventricles_ml`: volumes of brain tissue and lateral ventricles, null where the scan does not show them whole;
`content`: see PreparedScan."""


@dataclass(frozen=True)
class PreparedScan:
    """One scan and its alignment to a template. Paths are relative to the data folder.

    Parameters
    ----------
    path
        NIfTI file of the scan as it was ingested.
    volume
        Its voxels on the template's grid: .npy, float16, (i, j, k).
    matrix
        4x4, template mm to scan mm (RAS+).
    ok
        Whether the alignment is good enough to be used.
    brain
        Its brain segmentation, .npz, see `brain.segmentation_files`; None where no brain was found.
    mask
        The mask that came with the scan, NIfTI on its grid, outside which nothing is compared; None without one.
    content
        SHA-256 of everything that a result can depend on: the scan's voxels and affine, whether they are inverted, the
        mask, the template, the transform, the version of the method, the matrix, the aligned voxels, and the brain.
    """

    id: str
    subject: str
    session: str
    modality: str
    contrast: str
    scanner: str
    flags: tuple[str, ...]
    path: str
    volume: str
    matrix: list[list[float]]
    ok: bool
    brain: str | None
    mask: str | None
    content: str

    @property
    def acquisition(self) -> tuple[str, str, str]:
        """Modality, contrast and scanner: which scans it is compared with, and which noise floor applies."""
        return self.modality, self.contrast, self.scanner


@dataclass(frozen=True)
class PreparedStudy:
    """The result of the prepare stage.

    Parameters
    ----------
    alignments
        One row a scan, with ALIGNMENT_COLUMNS.
    template
        NIfTI file of the template on whose grid the volumes lie.
    """

    alignments: pd.DataFrame
    template: Path

    def scans(self, table: pd.DataFrame) -> dict[str, PreparedScan]:
        """Return the scans of a scan table that have an alignment, joined with it, by id."""
        described = ["id", "subject", "session", "modality", "contrast", "scanner", "flags", "path", "mask"]
        merged = table[described].merge(self.alignments, left_on="id", right_on="scan")
        return {row.id: _prepared_scan(row) for row in merged.itertuples()}

    def volumes(self, data: Path, scans: pd.Series[str]) -> list[Path]:
        """Return the paths of the aligned voxels of these scans, in the order of the given ids."""
        paths = self.alignments.set_index("scan").volume
        return [data / paths[scan] for scan in scans]

    def contents(self, scans: pd.Series[str]) -> list[str]:
        """Return the content digests of these scans, in the order of the given ids."""
        known = self.alignments.set_index("scan").content
        return [known[scan] for scan in scans]


def _prepared_scan(row: Any) -> PreparedScan:
    return PreparedScan(
        id=row.id,
        subject=row.subject,
        session=row.session,
        modality=row.modality,
        contrast=row.contrast,
        scanner=row.scanner,
        flags=tuple(row.flags),
        path=row.path,
        volume=row.volume,
        matrix=[[float(value) for value in line] for line in row.matrix],
        ok=bool(row.ok),
        brain=row.brain if isinstance(row.brain, str) else None,
        mask=row.mask if isinstance(row.mask, str) else None,
        content=row.content,
    )
