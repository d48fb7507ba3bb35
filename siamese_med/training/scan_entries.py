"""Entries of a longitudinal dataset: one for each scan, from a study, a BIDS tree, or a list of dictionaries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med.errors import EmptyInputError, InputError
from siamese_med.imaging.volume import read_volume
from siamese_med.ingestion.catalogue import catalogue
from siamese_med.ingestion.inputs.bids_metadata import NIFTI_ENDINGS
from siamese_med.ingestion.inputs.sources import collect_input_paths, make_natural_sort_key
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.study.visit_order import sort_scans_by_time
from siamese_med.study.vocabulary import UNPAIRED_FLAGS
from siamese_med.training.training_scans import count_days

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEYS = ("image", "mask", "subject", "session", "days")
"""Keys of the dictionary of one scan."""


@dataclass(frozen=True)
class ScanEntry:
    """One scan of a longitudinal dataset.

    Parameters
    ----------
    image, mask
        NIfTI or .npy files; no mask where there is none.
    subject, session
        Patient and visit.
    days
        Since the patient's first visit; NaN where unknown.
    affine
        4x4, voxel to RAS+ mm, of a file that does not say; None where it does.
    """

    image: Path
    subject: str
    session: str = ""
    days: float = float("nan")
    mask: Path | None = None
    affine: NDArray[np.float64] | None = None


def list_study_scans(study: Study, prepared: PreparedStudy | None = None) -> list[ScanEntry]:
    """List the scans of a study's catalogue, sorted by patient and time; those that are never paired are left out.

    Parameters
    ----------
    prepared
        The result of `siamese_med.prepare`: then the volumes are those on the template's grid, of the scans that could
        be aligned. None for the scans as they were ingested, with their masks.

    Raises
    ------
    EmptyInputError
        There is no such scan.
    """
    scans = list(catalogue.read_scan_table(study.catalogue_url).itertuples())
    days = _count_days(scans)
    affine, volumes = None, {scan.id: scan.path for scan in scans}
    if prepared is not None:
        affine = read_volume(prepared.template).affine
        usable = prepared.alignments[prepared.alignments.ok]
        volumes = dict(zip(usable.scan, usable.volume, strict=True))
    entries = [
        ScanEntry(
            study.data / volumes[scan.id],
            scan.subject,
            scan.session,
            days[scan.id],
            study.data / scan.mask if prepared is None and isinstance(scan.mask, str) else None,
            affine,
        )
        for scan in _sort_by_time(scans)
        if scan.id in volumes and UNPAIRED_FLAGS.isdisjoint(scan.flags)
    ]
    if not entries:
        raise EmptyInputError("the study has no scan that can be used: see `siamese-med status`")
    return entries


def list_bids_scans(folder: Path, contrasts: Collection[str] | None = None) -> list[ScanEntry]:
    """List the images of a BIDS dataset, sorted by patient and time, with what its tables say of their dates.

    Masks, derivatives and files without a subject are left out. Nothing is checked as ingest checks it: read a dataset
    that you trust, or ingest it and use `list_study_scans`.

    Parameters
    ----------
    contrasts
        Words as in the scan table, such as `T1w` or `FLAIR`; None for all.

    Raises
    ------
    MissingFileError, EmptyInputError
        There is no such folder, or it has no such image.
    """
    scans = [
        _BidsScan(
            str(one.path),
            f"sub-{one.claim.subject}",
            f"ses-{one.claim.session}" if one.claim.session else "",
            None if one.claim.date is None else one.claim.date.isoformat(),
            one.claim.contrast,
        )
        for one in collect_input_paths(folder)
        if not one.reason and one.labels.subject and one.path.name.lower().endswith(NIFTI_ENDINGS)
    ]
    found = [scan for scan in _sort_by_time(scans) if contrasts is None or scan.contrast in contrasts]
    if not found:
        wanted = "" if contrasts is None else f" of contrast {', '.join(sorted(contrasts))}"
        raise EmptyInputError(f"{folder} has no image{wanted} in a folder sub-*: give a BIDS dataset")
    days = _count_days(scans)
    return [ScanEntry(Path(scan.id), scan.subject, scan.session, days[scan.id]) for scan in found]


@dataclass(frozen=True)
class _BidsScan:
    """An image of a BIDS dataset, with what `study.visit_order` sorts by; `id` is its path."""

    id: str
    subject: str
    session: str
    date: str | None
    contrast: str | None


def _count_days(scans: Sequence[Any]) -> dict[str, float]:
    """Days of each scan by its id, since the first date of all scans of its patient."""
    days = count_days([scan.subject for scan in scans], [scan.date for scan in scans])
    return {scan.id: day for scan, day in zip(scans, days, strict=True)}


def _sort_by_time(scans: Iterable[Any]) -> list[Any]:
    """Sort scans by patient, numbers in their names counted, and by the one order of visits.

    Give all scans and choose afterwards: the date of a visit may be that of a scan that is not chosen.
    """
    return sorted(sort_scans_by_time(scans), key=lambda scan: make_natural_sort_key(scan.subject))


def read_entries(scans: Sequence[Mapping[str, Any]]) -> list[ScanEntry]:
    """Read a list of dictionaries; their order is kept.

    Parameters
    ----------
    scans
        Each with `image` and `subject`, and where they are known `mask`, `session` and `days`.

    Raises
    ------
    EmptyInputError, InputError
        The list is empty, or a dictionary lacks a key or has an unknown one.

    Examples
    --------
    >>> read_entries([{"image": "a.nii.gz", "subject": "sub-1", "days": 90}])[0].days
    90.0
    """
    if not scans:
        raise EmptyInputError("the list of scans is empty: give dictionaries with `image` and `subject`")
    return [_read_entry(place, scan) for place, scan in enumerate(scans)]


def _read_entry(place: int, scan: Mapping[str, Any]) -> ScanEntry:
    if missing := [key for key in ("image", "subject") if key not in scan]:
        raise InputError(f"scan {place} of the list has no `{missing[0]}`: give the keys {', '.join(KEYS)}")
    if unknown := [key for key in scan if key not in KEYS]:
        raise InputError(f"scan {place} of the list has the unknown key `{unknown[0]}`: known are {', '.join(KEYS)}")
    mask, days = scan.get("mask"), scan.get("days")
    return ScanEntry(
        Path(scan["image"]),
        str(scan["subject"]),
        str(scan.get("session", "")),
        float("nan") if days is None else float(days),
        None if mask is None else Path(mask),
    )
