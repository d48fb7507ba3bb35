"""What all objects share: whose they are, what made them, identifiers and dates that a second export gives again."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from importlib import metadata
from typing import TYPE_CHECKING, Any

from siamese_med.dicom_export.source_images import OPTIONAL_ATTRIBUTES, PATIENT_STUDY_ATTRIBUTES, SourceImages

if TYPE_CHECKING:
    from pydicom import Dataset

RESEARCH_USE_NOTICE = "Research use only, not for diagnosis"
MANUFACTURER = "siamese-med"
CODING_SCHEME = "99SIAMESEMED"
SERIES_NUMBERS = {"seg": 9_700_000, "sr": 9_710_000, "pdf": 9_720_000}
"""The pair's number is added; scanners and workstations number far below."""

UID_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, MANUFACTURER)


def make_uid(*parts: str) -> str:
    """A UID under the 2.25 root, by name: the same for the same parts."""
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, json.dumps(parts)).int}"


def get_software_version() -> str:
    """This software's version."""
    try:
        return metadata.version(MANUFACTURER)
    except metadata.PackageNotFoundError:
        return "not installed"


@dataclass(frozen=True)
class ExportContext:
    """One object's place: what it is of (pseudonyms), which model spoke, and the images that it is filed beside.

    `kind` is one of SERIES_NUMBERS, `number` the pair's.
    """

    kind: str
    number: int
    subject: str
    model: str
    images: SourceImages

    @property
    def tracking(self) -> str:
        """What a segment and its measurements are known by."""
        return make_uid(self.model, self.subject, "tracking")

    def uid(self, part: str, content: bytes = b"") -> str:
        """A UID of this object or of a part of it, with `content` of this very version: no two may share one."""
        return make_uid(self.model, self.subject, self.kind, part, hashlib.sha256(content).hexdigest())

    def common(self, title: str, content: bytes) -> dict[str, Any]:
        """Arguments that highdicom takes for every object; `content` is what another version would differ in."""
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
    """The object as a DICOM file, under its owner's attributes as the images have them, and without the clock."""
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
