"""Whose a file is: the owner's name as the input gives it, and the pseudonyms that stand for owner and visit.

What is known of a file that became no scan ends in the catalogue too, so that somebody can go and repair it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from siamese_med.ingestion.dicom.instances import DicomInstance
from siamese_med.ingestion.inputs.entries import compute_entry_claim_key
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.study.vocabulary import UNKNOWN, ScanSource

if TYPE_CHECKING:
    from siamese_med.ingestion.dicom.origins import DicomOrigin
    from siamese_med.ingestion.inputs.claims import InputClaim
    from siamese_med.ingestion.inputs.entries import FileGroup, InputEntry

SEALED_OWNER_BYTES = 64


@dataclass(frozen=True)
class FileOwner:
    """A name space, an identifier in it (for DICOM the issuer and the PatientID), and what tells this visit apart."""

    space: str
    patient: str
    visit: str

    def subject(self, secret: Pseudonyms) -> str:
        """The pseudonym of the patient."""
        return secret.subject(self.space, self.patient)

    def session_key(self, secret: Pseudonyms) -> str:
        """HMAC of the visit."""
        return secret.label("session", self.subject(secret), self.visit)


def seal_owner(owner: FileOwner, secret: Pseudonyms) -> str:
    """The owner's name for those with the secret; padded, so that its length tells nothing of a usual one."""
    content = json.dumps([owner.space, owner.patient]).encode()
    return secret.seal(
        content.ljust(-(-len(content) // SEALED_OWNER_BYTES) * SEALED_OWNER_BYTES), "subject", owner.subject(secret)
    )


def unseal_owner(subject: str, text: str, secret: Pseudonyms) -> FileOwner:
    """The owner behind a pseudonym; raises CatalogueError where the row was changed or is another subject's."""
    space, patient = json.loads(secret.unseal(text, "subject", subject))
    return FileOwner(space, patient, "")


def identify_dicom_owner(claim: InputClaim | None, one: DicomInstance | DicomOrigin, day: date | None) -> FileOwner:
    """The owner of a DICOM file: whom a manifest names, else PatientID under its issuer."""
    if claim is not None:
        return FileOwner("manifest", claim.subject, claim.session or str(day))
    return FileOwner(f"dicom {one.issuer}", one.patient, one.study or str(day))


def identify_nifti_owner(claim: InputClaim) -> FileOwner:
    """The owner of a file that does not say itself whose it is."""
    return FileOwner(claim.kind, claim.subject, claim.session or str(claim.date or ""))


@dataclass(frozen=True)
class GroupOwnership:
    """Whose a group of files is, and what it is of, as far as its files say; `label` is that of a DICOM series."""

    owners: frozenset[FileOwner]
    label: str
    day: date | None
    modality: str
    contrast: str
    source: str
    slices: int


def collect_ownership(group: FileGroup, secret: Pseudonyms) -> GroupOwnership:
    """Gathered from all files of a group while their headers are at hand."""
    owners, days, slices = set(), set(), 0
    for entry in group.entries:
        one = _header_of_entry(entry)
        owners.add(identify_entry_owner(entry, one))
        days.add(_day(entry, one))
        slices += len(one.planes) if isinstance(one, DicomInstance) else 0
    first = group.entries[0]
    modality, contrast, source = _kind(first, _header_of_entry(first))
    label = _series_label(first, secret) or group.key
    known = frozenset(owner for owner in owners if owner)
    return GroupOwnership(
        known, label, min((day for day in days if day), default=None), modality, contrast, source, slices
    )


def _header_of_entry(entry: InputEntry) -> DicomInstance | DicomOrigin | None:
    look = (entry.follows or entry).look
    return (look.instance or look.origin) if look else None


def identify_entry_owner(entry: InputEntry, one: DicomInstance | DicomOrigin | None) -> FileOwner | None:
    """Whose an entry is; None where nobody says, since a bare file name is a guess that only a scan deserves."""
    if one is not None:
        given = entry.found.claim if entry.found.listed else None
        return identify_dicom_owner(given, one, _day(entry, one)) if given or one.patient else None
    look, claim = (entry.follows or entry).look, entry.found.claim
    return identify_nifti_owner(claim) if claim.given or (look and look.voxels) else None


def _day(entry: InputEntry, one: DicomInstance | DicomOrigin | None) -> date | None:
    claimed = entry.found.claim.date if one is None or entry.found.listed else None
    return claimed or (one.day if one else None)


def _kind(entry: InputEntry, one: DicomInstance | DicomOrigin | None) -> tuple[str, str, str]:
    """Modality, contrast and source."""
    if isinstance(one, DicomInstance):
        return one.facts.modality, one.facts.contrast, str(ScanSource.DICOM)
    if one is not None:
        return one.modality, UNKNOWN, str(ScanSource.DICOM)
    if entry.look and entry.look.voxels:
        return entry.found.claim.modality, entry.found.claim.contrast, str(ScanSource.NIFTI)
    return UNKNOWN, UNKNOWN, ""


def _series_label(entry: InputEntry, secret: Pseudonyms) -> str:
    """The key of the series that a file belongs to although it was judged alone; empty where it has none."""
    origin = entry.look.origin if entry.look else None
    if origin is None or not (origin.series or origin.study):
        return ""
    claim = compute_entry_claim_key(entry, secret) if entry.found.listed else ""
    return secret.label("series", origin.study, origin.series or origin.number, claim)


def make_series_row(key: str, known: GroupOwnership, secret: Pseudonyms) -> dict[str, Any]:
    """What the catalogue keeps of a group beside what became of its files."""
    subjects = sorted({one.subject(secret) for one in known.owners})
    visits = {one.session_key(secret) for one in known.owners}
    return {
        "key": key,
        "label": known.label,
        "subjects": subjects,
        "visit": visits.pop() if len(visits) == 1 else "",
        "date": secret.shifted(known.day, subjects[0]) if len(subjects) == 1 else None,
        "modality": known.modality,
        "contrast": known.contrast,
        "source": known.source,
        "slices": known.slices,
    }
