"""To whom a file belongs: the patient as the input names it, and the pseudonyms of patient and visit.

The catalogue keeps this also for files that became no scan, so that they can be found and repaired.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from siamese_med.ingestion import contrast_finding
from siamese_med.ingestion.catalogue.rows import SeriesRow
from siamese_med.ingestion.dicom.instances import DicomInstance
from siamese_med.ingestion.inputs.entries import compute_entry_claim_key
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.study.vocabulary import UNKNOWN, ScanSource

if TYPE_CHECKING:
    from siamese_med.ingestion.dicom.origins import DicomOrigin
    from siamese_med.ingestion.inputs.claims import InputClaim
    from siamese_med.ingestion.inputs.entries import FileGroup, InputEntry

NUMBER_WORD_PATTERN = re.compile(r"^(mrn|pid|id|pat(ient)?([ _-]?id)?|subj(ect)?|case|no|nr)[\W_]*(?=\d)")
"""Words that say no more than that a patient's number follows."""

VISIT_ENDING_PATTERN = re.compile(
    r"((visit|vis|v|timepoint|time|tp|t|session|sess|ses|scan|exam|mr|followup|fu)-?\d{1,2}|"
    r"-?(m|mon|months?|w|wks?|weeks?|y|yrs?|years?|d|days?)-?\d{1,3}|"
    r"-?(pre|post)-?(op|rt|tx|treatment|surgery|therapy)?|bl|baseline|screening|scr|fu|followup|"
    r"-(19|20)\d\d(-?[01]\d(-?[0-3]\d)?)?)$"
)
"""Visits at the end of identifiers, as `write_plainly` writes them."""

MONTHS_ENDING_PATTERN = re.compile(
    r"[\W_](0?[0-9]|12|15|18|24|30|36|48|60)(mo?|mon|months?|wks?|weeks?|yrs?|years?|days?)$", re.I
)
"""Visits at the end of identifiers with the number in front, as they are written: in `01-002-M` the M is a sex."""

INPUT_SPACE_PATTERN = re.compile(r"input-\w+")
"""Name spaces of inputs, see `input_namespaces`."""

SEALED_OWNER_BYTES = 64
"""Identifiers are padded to a multiple of this many bytes before encryption, so that their length is not revealed."""


@dataclass(frozen=True)
class FileOwner:
    """The patient and visit of a file.

    `space` is the name space of the identifier (for DICOM with the issuer), `patient` the identifier itself, and
    `visit` what tells this visit from others, such as the Study Instance UID.
    """

    space: str
    patient: str
    visit: str

    def subject(self, secret: Pseudonyms) -> str:
        """Return the pseudonym of the patient: `sub-` and 26 characters, the same in every run under one secret."""
        return secret.subject(self.space, self.patient)

    def stem(self) -> str:
        """Return the identifier without the visit at its end, behind its data set; empty where none stands there."""
        kind, _, rest = self.space.partition(" ")
        found = drop_visit(self.patient) if kind in ("dicom", "bids") else ""
        return f"{'' if kind == 'dicom' else rest} {found}" if found else ""

    def session_key(self, secret: Pseudonyms) -> str:
        """Return the HMAC of the visit under its subject; scans of one key are in one session."""
        return secret.label("session", self.subject(secret), self.visit)

    def likeness(self, secret: Pseudonyms) -> str:
        """Return an HMAC that is equal for identifiers of one kind that differ in writing or issuer alone.

        The labels of BIDS datasets without a Name, and the subjects of manifests, are of one kind with DICOM's
        identifiers, of which they are mostly made. Of two inputs, equal labels are alike.
        """
        kind, _, rest = self.space.partition(" ")
        dataset = "" if kind == "dicom" else rest  # there it is the issuer, which many exports leave out
        if kind in ("bids", "folder") and INPUT_SPACE_PATTERN.fullmatch(dataset):
            dataset = ""
        kind = "dicom" if kind == "manifest" or (kind == "bids" and not dataset) else kind
        return secret.label("likeness", kind, dataset, write_plainly(self.patient))


def write_plainly(identifier: str) -> str:
    """Write an identifier without what is written in one way here and in another there.

    That is zeros in front, case, spaces and signs, wide digits, forms of accented letters, words such as `MRN` or
    `sub-` in front of a number, and what HL7 writes behind `^`. Signs between two digits count, since 1-23 and 12-3
    are two.

    Examples
    --------
    >>> write_plainly(" 00123 "), write_plainly("MRN-07a"), write_plainly("sub-07"), write_plainly("123^^^HOSP")
    ('123', '7a', '7', '123')
    >>> write_plainly("12-345"), write_plainly("12 345")
    ('12-345', '12-345')
    """
    text = unicodedata.normalize("NFKC", identifier).strip().casefold().removeprefix("sub-")
    text = NUMBER_WORD_PATTERN.sub("", text.partition("^")[0] or text)
    text = re.sub(r"[\W_]+", "-", re.sub(r"(?<!\d)0+(?=\d)", "", text)).strip("-")
    return re.sub(r"(?<!\d)-|-(?!\d)", "", text)


def drop_visit(identifier: str) -> str:
    """Return what is left of an identifier that ends with a visit; empty where none does, or no number is left.

    Examples
    --------
    >>> [drop_visit(one) for one in ("S01_V1", "PROJ_S01_MR2", "001-BL", "P001_20210304", "sub-007ses2")]
    ['s1', 'projs1', '1', 'p1', '7']
    >>> [drop_visit(one) for one in ("S01_M12", "S01-w04", "S01_12M", "S01_preop", "S01_2020", "S01-day90")]
    ['s1', 's1', 's1', 's1', 's1', 's1']
    >>> [drop_visit(one) for one in ("S01", "STUDY_V1", "4711", "20210304")]
    ['', '', '', '']
    """
    plain, short = write_plainly(identifier), MONTHS_ENDING_PATTERN.sub("", identifier.strip())
    if short != identifier.strip():
        return write_plainly(short) if re.search(r"\d", short) else ""
    rest = VISIT_ENDING_PATTERN.sub("", plain).rstrip("-")
    return rest if rest != plain and re.search(r"\d", rest) else ""


def seal_owner(owner: FileOwner, secret: Pseudonyms) -> str:
    """Encrypt an owner's identifier for the catalogue.

    The text is bound to the subject's pseudonym, so it cannot be moved to another row. Without the secret it reveals
    nothing; usual identifiers give texts of equal length.
    """
    content = json.dumps([owner.space, owner.patient]).encode()
    return secret.seal(
        content.ljust(-(-len(content) // SEALED_OWNER_BYTES) * SEALED_OWNER_BYTES), "subject", owner.subject(secret)
    )


def unseal_owner(subject: str, text: str, secret: Pseudonyms) -> FileOwner:
    """Decrypt the owner behind a pseudonym.

    Returns
    -------
    FileOwner
        Name space and identifier; `visit` is empty, since it is not stored.

    Raises
    ------
    CatalogueError
        The row was changed, or belongs to another subject.
    """
    space, patient = json.loads(secret.unseal(text, "subject", subject))
    return FileOwner(space, patient, "")


def identify_dicom_owner(claim: InputClaim | None, one: DicomInstance | DicomOrigin, day: date | None) -> FileOwner:
    """Return the owner of a DICOM file.

    Parameters
    ----------
    claim
        The claim of a manifest, which takes precedence. None, or one without a subject: PatientID under its issuer
        decides.
    one
        The header's identifiers.
    day
        Date of the scan; it stands for the visit where no session or study UID is given.
    """
    if claim is not None and claim.subject:
        return FileOwner("manifest", claim.subject, claim.session or str(day))
    said = claim.session if claim is not None else ""
    return FileOwner(f"dicom {one.issuer}", one.patient, said or one.study or str(day))


def identify_nifti_owner(claim: InputClaim) -> FileOwner:
    """Return the owner of a NIfTI file from its claim; without a session the date stands for the visit."""
    return FileOwner(claim.kind, claim.subject, claim.session or str(claim.date or ""))


@dataclass(frozen=True)
class GroupOwnership:
    """The patients and the kind of image of a group of files; `label` is the key of the DICOM series.

    A group of one patient has one owner. Several owners are a conflict, none means that nothing names the patient.
    """

    owners: frozenset[FileOwner]
    label: str
    day: date | None
    modality: str
    contrast: str
    source: str
    slices: int


def collect_ownership(group: FileGroup, secret: Pseudonyms) -> GroupOwnership:
    """Collect the owners of all files of a group, and date, modality and contrast of its first file.

    A segmentation of lesions owns nothing: it is compared with the patient of its images. `slices` counts the planes of
    all DICOM files. Needs the headers, so it runs before they are dropped from memory.
    """
    owners, days, slices = set(), set(), 0
    for entry in (one for one in group.entries if not one.is_segmentation):
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
    """Return the owner of one entry, or None where nothing names the patient.

    A bare file name counts only for a NIfTI with voxels.
    """
    if one is not None:
        given = entry.found.claim if entry.found.listed else None
        named = one.patient or (given is not None and given.subject)
        return identify_dicom_owner(given, one, _day(entry, one)) if named else None
    look, claim = (entry.follows or entry).look, entry.found.claim
    if not claim.subject:  # a row of a manifest leaves it to the header, and there is none
        return None
    return identify_nifti_owner(claim) if claim.given or (look and look.voxels) else None


def _day(entry: InputEntry, one: DicomInstance | DicomOrigin | None) -> date | None:
    claimed = entry.found.claim.date if one is None or entry.found.listed else None
    return claimed or (one.day if one else None)


def _kind(entry: InputEntry, one: DicomInstance | DicomOrigin | None) -> tuple[str, str, str]:
    """Return modality, contrast and source (dicom, nifti, or empty)."""
    if isinstance(one, DicomInstance):
        said = entry.found.claim.said_contrast if entry.found.listed else ""
        told = contrast_finding.find_dicom_contrast(one.facts.contrast, entry.found.path, said)
        return one.facts.modality, told.contrast, str(ScanSource.DICOM)
    if one is not None:
        return one.modality, UNKNOWN, str(ScanSource.DICOM)
    if entry.look and entry.look.voxels:
        return entry.found.claim.modality, entry.found.claim.contrast, str(ScanSource.NIFTI)
    return UNKNOWN, UNKNOWN, ""


def _series_label(entry: InputEntry, secret: Pseudonyms) -> str:
    """Return the key of the DICOM series of a file that was judged alone; empty where it has none."""
    origin = entry.look.origin if entry.look else None
    if origin is None or not (origin.series or origin.study):
        return ""
    claim = compute_entry_claim_key(entry, secret) if entry.found.listed else ""
    return secret.label("series", origin.study, origin.series or origin.number, claim)


def make_series_row(key: str, known: GroupOwnership, secret: Pseudonyms) -> SeriesRow:
    """Make the catalogue's row of a group of files: pseudonyms, shifted date and kind of image, nothing in plain text.

    The date is left out where the group has no single subject, since each subject has a shift of its own.
    """
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
