"""Acquisition of a DICOM image, as far as it may be written in the clear: physics as numbers, makers and machines.

These values tell nothing of a person (DICOM PS3.15 keeps them), if they are what they should be. So numbers must be
plausible, and names must be known ones; what else a header may hold in these elements is not kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from siamese_med.ingestion.dicom import tags

if TYPE_CHECKING:
    from siamese_med.ingestion.dicom.tags import DicomHeader

AcquisitionFacts = tuple[tuple[str, float | str], ...]
"""Fields of a BIDS side-car by name, in its units."""

NUMBERS = {
    "RepetitionTime": (1000.0, 120.0), "EchoTime": (1000.0, 10.0), "InversionTime": (1000.0, 60.0),
    "FlipAngle": (1.0, 360.0), "SliceThickness": (1.0, 100.0), "MagneticFieldStrength": (1.0, 25.0),
}  # fmt: skip
"""DICOM keyword, also the name in BIDS: what divides it (ms to s), and the largest plausible value. None is negative.
"""
SIGNIFICANT_DIGITS = 7

MAKERS = {
    "siemens": "Siemens", "ge": "GE", "philips": "Philips", "toshiba": "Toshiba", "canon": "Canon",
    "hitachi": "Hitachi", "fujifilm": "Fujifilm", "uih": "UIH", "united": "UIH", "bruker": "Bruker",
}  # fmt: skip
"""First word of Manufacturer, and what is written."""
MODELS = """
    Prisma Skyra TrioTim Trio Verio Avanto Aera Vida Sola Lumina Espree Essenza Spectra Symphony Sonata Allegra Terra
    Amira Sempra Altea Cima Biograph Somatom Sensation Signa Discovery Optima Genesis Premier Architect LightSpeed
    Revolution Achieva Ingenia Intera Ambition Elition Gyroscan Panorama Gemini Brilliance Ingenuity iCT Titan Vantage
    Galan Orian Aquilion Echelon Oasis uMR
"""
"""Words of names of scanners; the first of them in ManufacturerModelName is written, and nothing else."""
_MODELS = {word.lower(): word for word in MODELS.split()}
_WORD = re.compile(r"[a-z]+")


def read_acquisition_facts(dataset: DicomHeader) -> AcquisitionFacts:
    """Read from a header how the image was acquired; what is missing, implausible or unknown is left out."""
    found: list[tuple[str, float | str]] = []
    for keyword, (unit, most) in NUMBERS.items():
        value = tags.get_tag_number(dataset, keyword)
        if value is not None and 0 <= value / unit <= most:
            found.append((keyword, float(f"{value / unit:.{SIGNIFICANT_DIGITS}g}")))
    maker = name_maker(tags.get_tag_text(dataset, "Manufacturer"))
    model = name_model(tags.get_tag_text(dataset, "ManufacturerModelName"))
    return (*found, *(pair for pair in (("Manufacturer", maker), ("ManufacturersModelName", model)) if pair[1]))


def name_maker(text: str) -> str:
    """Return the known maker that a text begins with, or an empty text.

    Examples
    --------
    >>> name_maker("GE MEDICAL SYSTEMS"), name_maker("Siemens Healthineers"), name_maker("Doe, Jane")
    ('GE', 'Siemens', '')
    """
    return MAKERS.get(next(iter(_WORD.findall(text.lower())), ""), "")


def name_model(text: str) -> str:
    """Return the first known word of a scanner's name in a text, or an empty text.

    Examples
    --------
    >>> name_model("Prisma_fit"), name_model("DISCOVERY MR750"), name_model("Jane Doe's scanner")
    ('Prisma', 'Discovery', '')
    """
    return next((_MODELS[word] for word in _WORD.findall(text.lower()) if word in _MODELS), "")
