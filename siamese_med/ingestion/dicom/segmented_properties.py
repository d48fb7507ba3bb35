"""Selection of the lesions among the segments of a DICOM Segmentation, by coded category, coded type and label."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from siamese_med.ingestion.dicom import tags

if TYPE_CHECKING:
    from pydicom import Dataset

OWN_MANUFACTURER = "siamese-med"
"""Manufacturer of the objects that this program exports: its change maps are not masks of lesions."""

ABNORMAL_CODES = {"49755003", "M-01000"}
"""Morphologically Abnormal Structure, in SNOMED CT and SRT (DICOM PS3.16, CID 7150)."""

ANATOMY_CODES = {"85756007", "T-D0050", "123037004", "T-D000A", "91723000", "91722005"}
"""Tissue, and body or anatomical structure, in SNOMED CT and SRT (DICOM PS3.16, CID 7150)."""

LESION_PATTERN = re.compile(
    r"(?<![a-z])(lesions?|tumou?rs?|neoplasms?|mass(es)?|metastas[ei]s|plaques?|wmhs?|white matter hyperintensit(y|ies)"
    r"|infarcts?|infarctions?|nodules?|findings?)(?![a-z])"
)
"""Words for a lesion in the meaning of a code or in a label."""

OTHER_PATTERN = re.compile(
    r"(?<![a-z])(non?|not|without|excluding|outside|near|normal|around|body mass|lean mass|muscle mass)(?![a-z])"
)
"""Words with which a text about a lesion means something else, such as 'brain without tumour'."""

MAX_SEGMENTS = 65_535
"""Segments of one object: their number has 16 bits (DICOM PS3.3, section C.8.20.4)."""


def find_lesion_segments(dataset: Dataset) -> frozenset[int]:
    """Return the numbers of the segments that are lesions.

    A segment is a lesion where its category is 'Morphologically Abnormal Structure', or where its category, type or
    label names a lesion. A segment of a named organ or tissue is none, whatever its label says. An object of this
    program's own has none.

    Parameters
    ----------
    dataset
        The header of a DICOM Segmentation (PS3.3, section C.8.20.2). Missing and broken parts name nothing.
    """
    if tags.get_tag_text(dataset, "Manufacturer").casefold() == OWN_MANUFACTURER:
        return frozenset()
    found = set()
    for segment in tags.list_items(dataset, "SegmentSequence")[:MAX_SEGMENTS]:
        number = tags.get_tag_integer(segment, "SegmentNumber")
        if number is not None and 0 < number <= MAX_SEGMENTS and _is_lesion(segment):
            found.add(number)
    return frozenset(found)


def names_lesion(text: str) -> bool:
    """Tell whether a label or the meaning of a code names a lesion.

    Examples
    --------
    >>> names_lesion("MS_lesions 2"), names_lesion("TumourCore"), names_lesion("brain without tumour")
    (True, True, False)
    >>> names_lesion("massa intermedia")
    False
    """
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).replace("_", " ").lower()
    return bool(LESION_PATTERN.search(plain)) and not OTHER_PATTERN.search(plain)


def _is_lesion(segment: Dataset) -> bool:
    category = tags.get_first_item(segment, "SegmentedPropertyCategoryCodeSequence")
    kind = tags.get_first_item(segment, "SegmentedPropertyTypeCodeSequence")
    code, meaning = _code(category), tags.get_tag_text(category, "CodeMeaning")
    if code in ABNORMAL_CODES or names_lesion(meaning):
        return True
    anatomical = code in ANATOMY_CODES or meaning.lower() in ("tissue", "anatomical structure", "body structure")
    if anatomical and kind is not None and _code(kind) != code:
        return False  # a named organ; 3D Slicer writes Tissue for both where nobody chose anything
    said = (tags.get_tag_text(kind, "CodeMeaning"), tags.get_tag_text(segment, "SegmentLabel"))
    return any(map(names_lesion, said))


def _code(item: Dataset | None) -> str:
    return tags.get_tag_text(item, "CodeValue").upper()
