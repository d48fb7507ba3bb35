"""The scans that a study would hold after an ingest, worked out without writing to the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import EmptyInputError
from siamese_med.ingestion import ingest_folder
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.ingestion.catalogue.scan_names import ScanName, assign_scan_names
from siamese_med.ingestion.ingest_plan import VolumeOfInput, open_trial_run, plan_volumes
from siamese_med.ingestion.masks import NIFTI_GZ_ENDING
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.study.config import IngestConfig

if TYPE_CHECKING:
    import pandas as pd

COMPRESSED_SHARE = {True: 1.0, False: 0.75}
"""Size of a compressed scan over that of its files, by whether these are compressed.

Source: 2.4 GB of DICOM gave 1.8 GB of scans (docs/scale.md); 31 MB of .nii.gz gave 31 MB."""
UNCOMPRESSED_SHARE = {True: 2.0, False: 1.0}
"""The same with `ingest.compress = false`.

Source: our choice; integers of 16 bits compress to about a half."""


@dataclass(frozen=True)
class ExpectedScans:
    """Expected result of an ingest.

    Parameters
    ----------
    scans
        One row a scan, those of the catalogue and new ones, with the columns that pairs depend on, and `new`.
    new_bytes
        Size of the new scans' files in the data folder, estimated.
    input_bytes
        Size of the files that the new scans are made of.
    left_out
        Files that become no scan, by reason word.
    """

    scans: pd.DataFrame
    new_bytes: float
    input_bytes: int
    left_out: Mapping[str, int]


def expect_scans(source: Path, data: Path, config: IngestConfig, own: Sequence[Path] = ()) -> ExpectedScans:
    """Work out which scans a study would hold after `ingest`: those of its catalogue, and those of the input.

    Voxels are not decoded: a contrast that only the image tells is unknown, and a scan that only its voxels give away
    is still among them. A catalogue on a database server is not read; then all scans count as new.

    Parameters
    ----------
    source, config, own
        As of `ingest_folder.ingest_files`.
    data
        Data folder of the study; it need not exist.

    Raises
    ------
    MissingFileError, EmptyInputError, ManifestError, SecretError
        The input, the manifest, or the secret of the study's catalogue cannot be used.
    """
    import pandas as pd

    root = source if source.is_dir() else source.parent
    with open_trial_run(source, config, own, None if config.database else data) as run:
        groups, _ = ingest_folder.gather_groups(run, source, by_content=False)
        planned, left_out = plan_volumes(run, groups, root)
        names = assign_scan_names([one.volume.candidate for one in planned], run.catalogue, run.secret)
        known = _read_known_scans(str(run.catalogue.engine.url))
    there = set() if known is None else set(known.id)
    new = [one for one in planned if names[one.volume.candidate.key].id not in there]
    rows = pd.DataFrame([_row(names[one.volume.candidate.key], one, run.secret) for one in new])
    tables = [table for table in (known, rows) if table is not None and len(table)]
    return ExpectedScans(
        scans=pd.concat(tables, ignore_index=True) if tables else rows,
        new_bytes=sum(one.size * _share(one.place, config.compress) for one in new),
        input_bytes=sum(one.size for one in new),
        left_out=left_out,
    )


def _read_known_scans(url: str) -> pd.DataFrame | None:
    try:
        return catalogue.read_scan_table(url).assign(new=False)
    except EmptyInputError:
        return None


def _share(place: str, compress: bool) -> float:
    return (COMPRESSED_SHARE if compress else UNCOMPRESSED_SHARE)[place.endswith(NIFTI_GZ_ENDING)]


def _row(name: ScanName, planned: VolumeOfInput, secret: Pseudonyms) -> dict[str, object]:
    """The columns of the scan table that are known before the voxels are read."""
    facts = planned.volume.facts
    acquired = f"acquisition-{secret.label('acquisition', name.subject, facts.acquired)}" if facts.acquired else None
    return {
        "id": name.id,
        "subject": name.subject,
        "session": name.session,
        "date": secret.shifted(facts.date, name.subject),
        "modality": facts.modality,
        "contrast": facts.contrast,
        "scanner": secret.describe("scanner", facts.scanner),
        "protocol": secret.describe("protocol", facts.protocol),
        "sha256": None,
        "flags": sorted(map(str, facts.flags)),
        "changed": planned.volume.changed,
        "acquired": acquired,
        "difference": None,
        "since": None,
        "new": True,
    }
