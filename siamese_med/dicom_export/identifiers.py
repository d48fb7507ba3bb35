"""Common parts of exported objects: patient, study, software, and UIDs and dates that a second export reproduces."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from importlib import metadata
from typing import TYPE_CHECKING, TypedDict

from siamese_med.dicom_export.source_images import OPTIONAL_ATTRIBUTES, PATIENT_STUDY_ATTRIBUTES, SourceImages

if TYPE_CHECKING:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from pydicom import Dataset

RESEARCH_USE_NOTICE = "Research use only, not for diagnosis"
MANUFACTURER = "siamese-med"
CODING_SCHEME = "99SIAMESEMED"
"""Designator of this software's private coding scheme; such designators start with 99 (DICOM PS3.3, 8.2)."""
SERIES_NUMBERS = {"seg": 9_700_000, "sr": 9_710_000, "pdf": 9_720_000}
"""Series number by kind of object, to which the pair's number is added. Scanners and workstations use far smaller
numbers."""

UID_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, MANUFACTURER)
"""Namespace of all name-based UUIDs."""


def make_uid(*parts: str) -> str:
    """Make a UID from a name-based UUID under the root 2.25 (DICOM PS3.5, B.2); equal parts give equal UIDs.

    Examples
    --------
    >>> make_uid("model", "sub-0001") == make_uid("model", "sub-0001") != make_uid("model", "sub-0002")
    True
    >>> make_uid("model").startswith("2.25.") and len(make_uid("model")) <= 64
    True
    """
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, json.dumps(parts)).int}"


def get_software_version() -> str:
    """Return the version of the installed package, or `not installed` when it runs from a source folder."""
    try:
        return metadata.version(MANUFACTURER)
    except metadata.PackageNotFoundError:
        return "not installed"


class CommonAttributes(TypedDict):
    """Arguments that highdicom's classes take for every kind of object."""

    series_instance_uid: str
    series_number: int
    sop_instance_uid: str
    instance_number: int
    manufacturer: str
    manufacturer_model_name: str
    software_versions: str
    device_serial_number: str
    series_description: str
    content_date: date
    content_time: time
    coding_schemes: list[CodingSchemeIdentificationItem]


@dataclass(frozen=True)
class ExportContext:
    """Facts that identify one exported object.

    Attributes
    ----------
    kind
        `seg`, `sr` or `pdf` (SERIES_NUMBERS).
    number
        Number of the pair in the patient's report.
    subject
        What the object is about, in pseudonyms: the two scans, or patient and session.
    patient
        Pseudonym of the patient.
    model
        Id of the model that scored the pair.
    images
        The follow-up's images; the object is filed under their study.
    """

    kind: str
    number: int
    subject: str
    patient: str
    model: str
    images: SourceImages

    def make_tracking_uid(self, finding: int | None) -> str:
        """Make the tracking UID that a segment and its measurements have in common.

        That of a finding is the same in every pair of the patient, by whatever model. `finding` is None for all change
        of a pair.
        """
        if finding is None:
            return make_uid(self.model, self.subject, "tracking")
        return make_uid(self.patient, "finding", str(finding))

    def name_tracked(self, finding: int | None) -> str:
        """Return the text beside the tracking UID."""
        return f"{MANUFACTURER} change {self.number}" if finding is None else f"{MANUFACTURER} finding {finding}"

    def uid(self, part: str, content: bytes = b"") -> str:
        """Make the UID of this object, or of its part `part`.

        Another `content` gives another UID, because two versions of an object must not have the same UID.
        """
        return make_uid(self.model, self.subject, self.kind, part, hashlib.sha256(content).hexdigest())

    def common(self, title: str, content: bytes) -> CommonAttributes:
        """Make the attributes that all kinds of objects have.

        `title` ends the series description; `content` are bytes in which another version of the object would differ.
        """
        from highdicom.coding_schemes import CodingSchemeIdentificationItem

        return {
            "series_instance_uid": self.uid("series"),
            "series_number": SERIES_NUMBERS[self.kind] + self.number,
            "sop_instance_uid": self.uid("instance", content),
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": MANUFACTURER,
            "software_versions": get_software_version(),
            "device_serial_number": self.model[:64],
            "series_description": f"{RESEARCH_USE_NOTICE}: {title}",
            "content_date": self.images.day,
            "content_time": time.fromisoformat(self.images.clock),
            "coding_schemes": [CodingSchemeIdentificationItem(CODING_SCHEME, f"{MANUFACTURER}, words of its own")],
        }


def encode_dicom_object(made: Dataset, owner: Mapping[str, bytes]) -> bytes:
    """Encode an object as a DICOM file, with the patient and study attributes of the source images.

    Times of creation are removed, so that equal objects give equal bytes.

    Parameters
    ----------
    made
        The object; it is changed in place.
    owner
        Raw values of patient and study attributes by keyword (`SourceImages.owner`), copied byte for byte.
    """
    from pydicom import dcmwrite
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        made.pop(keyword, None)
    for item in made.get("ContributingEquipmentSequence", ()):
        item.pop("ContributionDateTime", None)
    for keyword, vr in PATIENT_STUDY_ATTRIBUTES.items():
        tag = Tag(tag_for_keyword(keyword) or 0)
        made.pop(tag, None)
        if keyword in owner or keyword not in OPTIONAL_ATTRIBUTES:
            value = owner.get(keyword, b"")
            made[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    file = io.BytesIO()
    dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()
