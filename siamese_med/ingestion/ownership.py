"""Whose a file is: the owner's name as the input gives it, and the pseudonyms that stand for owner and visit.

What is known of a file that became no scan ends in the catalogue too, so that somebody can go and repair it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from siamese_med.ingestion.entries import claim_on
from siamese_med.ingestion.instances import Instance
from siamese_med.ingestion.secret import Pseudonyms

if TYPE_CHECKING:
    from siamese_med.ingestion.entries import Entry, Group
    from siamese_med.ingestion.origins import Origin
    from siamese_med.ingestion.sources import Claim

SEALED_BYTES = 64


@dataclass(frozen=True)
class Owner:
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


def sealed(owner: Owner, secret: Pseudonyms) -> str:
    """The owner's name for those with the secret; padded, so that its length tells nothing of a usual one."""
    content = json.dumps([owner.space, owner.patient]).encode()
    return secret.seal(content.ljust(-(-len(content) // SEALED_BYTES) * SEALED_BYTES), "subject", owner.subject(secret))


def unsealed(subject: str, text: str, secret: Pseudonyms) -> Owner:
    """The owner behind a pseudonym; raises CatalogueError where the row was changed or is another subject's."""
    space, patient = json.loads(secret.unseal(text, "subject", subject))
    return Owner(space, patient, "")


def of_dicom(claim: Claim | None, one: Instance | Origin, day: date | None) -> Owner:
    """The owner of a DICOM file: whom a manifest names, else PatientID under its issuer."""
    if claim is not None:
        return Owner("manifest", claim.subject, claim.session or str(day))
    return Owner(f"dicom {one.issuer}", one.patient, one.study or str(day))


def of_nifti(claim: Claim) -> Owner:
    """The owner of a file that does not say itself whose it is."""
    return Owner(claim.kind, claim.subject, claim.session or str(claim.date or ""))


@dataclass(frozen=True)
class Belongings:
    """Whose a group of files is, and what it is of, as far as its files say; `label` is that of a DICOM series."""

    owners: frozenset[Owner]
    label: str
    day: date | None
    modality: str
    contrast: str
    source: str
    slices: int


def belongings(group: Group, secret: Pseudonyms) -> Belongings:
    """Gathered from all files of a group while their headers are at hand."""
    owners, days, slices = set(), set(), 0
    for entry in group.entries:
        one = _one(entry)
        owners.add(owner_of(entry, one))
        days.add(_day(entry, one))
        slices += len(one.planes) if isinstance(one, Instance) else 0
    first = group.entries[0]
    modality, contrast, source = _kind(first, _one(first))
    label = _series_label(first, secret) or group.key
    known = frozenset(owner for owner in owners if owner)
    return Belongings(known, label, min((day for day in days if day), default=None), modality, contrast, source, slices)


def _one(entry: Entry) -> Instance | Origin | None:
    look = (entry.follows or entry).look
    return (look.instance or look.origin) if look else None


def owner_of(entry: Entry, one: Instance | Origin | None) -> Owner | None:
    """Whose an entry is; None where nobody says, since a bare file name is a guess that only a scan deserves."""
    if one is not None:
        given = entry.found.claim if entry.found.listed else None
        return of_dicom(given, one, _day(entry, one)) if given or one.patient else None
    look, claim = (entry.follows or entry).look, entry.found.claim
    return of_nifti(claim) if claim.given or (look and look.voxels) else None


def _day(entry: Entry, one: Instance | Origin | None) -> date | None:
    claimed = entry.found.claim.date if one is None or entry.found.listed else None
    return claimed or (one.day if one else None)


def _kind(entry: Entry, one: Instance | Origin | None) -> tuple[str, str, str]:
    """Modality, contrast and source."""
    if isinstance(one, Instance):
        return one.facts.modality, one.facts.contrast, "dicom"
    if one is not None:
        return one.modality, "unknown", "dicom"
    if entry.look and entry.look.voxels:
        return entry.found.claim.modality, entry.found.claim.contrast, "nifti"
    return "unknown", "unknown", ""


def _series_label(entry: Entry, secret: Pseudonyms) -> str:
    """The key of the series that a file belongs to although it was judged alone; empty where it has none."""
    origin = entry.look.origin if entry.look else None
    if origin is None or not (origin.series or origin.study):
        return ""
    claim = claim_on(entry, secret) if entry.found.listed else ""
    return secret.label("series", origin.study, origin.series or origin.number, claim)


def series_row(key: str, known: Belongings, secret: Pseudonyms) -> dict[str, Any]:
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
