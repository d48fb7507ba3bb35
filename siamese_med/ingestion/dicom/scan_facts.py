"""Facts about a scan in a DICOM header besides geometry and pixels: date, scanner, protocol, contrast, flags."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from siamese_med.ingestion import agent_words, contrast, series_contrast
from siamese_med.ingestion.date_traits import STUDY_DATE_TRAIT
from siamese_med.ingestion.dicom import person_traits, tags
from siamese_med.ingestion.dicom.acquisition import read_acquisition_facts
from siamese_med.ingestion.dicom.fast_header import PlainHeader
from siamese_med.ingestion.dicom.header_memory import HeaderMemory
from siamese_med.ingestion.dicom.instances import ScanFacts, SlicePlane, share_value
from siamese_med.ingestion.dicom.series_physics import read_series_physics
from siamese_med.ingestion.protocol_parts import list_protocol_parts
from siamese_med.study.vocabulary import ScanFlag

if TYPE_CHECKING:
    from datetime import date

    from siamese_med.ingestion.dicom.tags import DicomHeader

Grid = tuple[int, int, tuple[float, ...] | None]
"""Rows, columns and spacing in mm of a slice."""

DATE_KEYWORDS = ("StudyDate", "SeriesDate", "AcquisitionDate", "AcquisitionDateTime", "ContentDate")
"""Elements that may have the date of the scan, in order of preference."""

MAX_DAYS_APART = 31
"""Days by which the dates of study and acquisition may differ; farther apart, one of them is an anonymiser's, and
nothing tells which. Source: our choice."""

MAX_DAYS_OF_STUDY = 1
"""Within so many days the date of the study counts, which may pass midnight. Farther apart, that of the acquisition
does: studies are dated by their order or upload too, or stay open for weeks."""

REFORMATTED_TYPES = {"MPR", "REFORMATTED", "RESAMPLED", "CURVED", "CPR", "MPR_CURVED", "VOLREFORMAT"}
"""Words in Image Type of images that were worked out from another series."""

REFORMATTED_PATTERN = re.compile(r"(?<![a-z])(mprs?|reformat\w*|rfmt|reform)(?![a-z])", re.I)
"""Series descriptions of such images, where Image Type calls them derived."""

DYNAMIC_PATTERN = re.compile(r"(?<![a-z])(dyn|dynamic\w*|dynamisch\w*|dce|twist|disco|multi[ _-]?phase)(?![a-z])", re.I)
"""Descriptions of series during which a contrast agent arrives; its element is often left empty."""

CLOCK_PATTERN = re.compile(r"(?:\d{4}[.-]?\d{2}[.-]?\d{2})?[ T]?(\d{2}):?(\d{2}):?(\d{2})(\.\d+)?(?:[+-]\d{4})?")
"""A time of day as DICOM (101500.25) or ACR-NEMA (10:15:00) writes it, perhaps behind a date."""

LOSSY_SYNTAX_UIDS = frozenset(
    f"1.2.840.10008.1.2.4.{number}"
    for number in ("50", "51", "52", "53", "54", "55", "56", "81", "91", "93", "203", "112")
)
"""Transfer syntaxes that may lose something: baseline, extended and progressive JPEG, near-lossless JPEG-LS, and JPEG
2000, HTJ2K and JPEG XL where they are not marked lossless (DICOM PS3.6, annex A)."""

TIME_KEYWORDS = ("SeriesTime", "AcquisitionTime", "ContentTime")
"""Elements that may have the time of day, in order of preference."""


def read_scan_facts(dataset: DicomHeader, modality: str, first: SlicePlane) -> ScanFacts:
    """Read date, scanner, protocol, contrast and flags from a header.

    Parameters
    ----------
    dataset
        The header.
    modality
        MR, CT or PT, see `sop_classes.determine_modality`.
    first
        The file's first plane, whose matrix and spacing describe the protocol where the header has no timing.

    Returns
    -------
    ScanFacts
        Missing values are None or empty. Free text is only searched for the contrast, never kept.
    """
    steady = _steady_facts(dataset, modality, (first.rows, first.columns, first.spacing))
    clock = next((clock for key in TIME_KEYWORDS if (clock := tags.get_tag_text(dataset, key))), "")
    return replace(steady, clock=clock, acquired=_acquired(dataset, steady.date))


def _read_steady_facts(dataset: DicomHeader, modality: str, grid: Grid) -> ScanFacts:
    """Read all but the times of day, which may differ from slice to slice."""
    description, protocol = (tags.get_tag_text(dataset, key) for key in ("SeriesDescription", "ProtocolName"))
    image_type = tags.get_tag_words(dataset, "ImageType")
    physics = read_series_physics(dataset, modality)
    word = series_contrast.classify_series_contrast(
        modality, description, physics.times_ms, physics.sequence, physics.agent, protocol, image_type
    )
    fat = modality == "MR" and series_contrast.suppresses_fat(word, description, physics.options, image_type)
    arrives = word == "T1w" and bool(DYNAMIC_PATTERN.search(description))
    told = modality == "MR" and agent_words.tells_agent(description, after_t1=False)
    given = (bool(physics.agent) and modality != "PT") or arrives or told
    agent = given and word not in (contrast.ENHANCED_T1, contrast.ENHANCED_CT)
    parts = list_protocol_parts(word, description, physics.times_ms[0], physics.flip_degrees, physics.b_value)
    said = {
        ScanFlag.FAT_SUPPRESSED: fat,
        ScanFlag.AGENT_GIVEN: agent,
        ScanFlag.REFORMATTED: _is_reformatted(description, image_type),
    }
    day, apart = _find_date(dataset, image_type)
    person = person_traits.read_person_traits(dataset, day)
    return ScanFacts(
        modality=modality,
        contrast=word,
        date=day,
        number=tags.get_tag_integer(dataset, "SeriesNumber") or 0,
        scanner=tuple(
            tags.get_tag_text(dataset, key) for key in ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber")
        ),
        protocol=(*_protocol(dataset, physics.times_ms, grid), *parts),
        flags=(*_flags(dataset), *(flag for flag, holds in said.items() if holds)),
        field_map=bool(contrast.FIELD_MAP_PATTERN.search(f"{description} {protocol}")),
        person=share_value((*person, (STUDY_DATE_TRAIT, (apart.isoformat(),))) if apart else person),
        acquisition=share_value(read_acquisition_facts(dataset)),
    )


_steady_facts = HeaderMemory(_read_steady_facts)


def _find_date(dataset: DicomHeader, image_type: tuple[str, ...]) -> tuple[date | None, date | None]:
    """Return the date of the scan, and that of the study where it lies days apart from it, else None.

    There is no date where those of study and acquisition exclude one another. The date of the series counts for the
    acquisition's where that is missing, unless the image is derived: then it is when it was worked out.
    """
    day = next((day for key in DATE_KEYWORDS if (day := _read_date(dataset, key))), None)
    study, measured = _read_date(dataset, "StudyDate"), _read_date(dataset, "AcquisitionDate")
    if measured is None and not isinstance(dataset, PlainHeader):  # else it differs by slice
        measured = _read_date(dataset, "AcquisitionDateTime")
    if measured is None and "ORIGINAL" in image_type:
        measured = _read_date(dataset, "SeriesDate")
    if not study or not measured or abs((study - measured).days) <= MAX_DAYS_OF_STUDY:
        return day, None
    return (None, None) if abs((study - measured).days) > MAX_DAYS_APART else (measured, study)


def _read_date(dataset: DicomHeader, keyword: str) -> date | None:
    return tags.parse_scan_date(tags.get_tag_text(dataset, keyword))


def _is_reformatted(description: str, image_type: tuple[str, ...]) -> bool:
    if "DERIVED" not in image_type:
        return False
    return not REFORMATTED_TYPES.isdisjoint(image_type) or bool(REFORMATTED_PATTERN.search(description))


def _acquired(dataset: DicomHeader, day: date | None) -> str:
    """Return when the acquisition began, to tell two acquisitions apart; empty where the day or the time is not known.

    Midnight to the second is what anonymisers leave, so it is no time. Neither is a time on 1 January, since many
    anonymisers write it for a year: two visits of one year would be rescans.
    """
    if day and (day.month, day.day) == (1, 1):
        return ""
    for key in ("AcquisitionTime", "AcquisitionDateTime"):
        match = CLOCK_PATTERN.fullmatch(tags.get_tag_text(dataset, key))
        if match and day:
            clock = "".join(match.groups(default="")).rstrip("0").rstrip(".")
            return f"{day.isoformat()} {clock}" if clock else ""
    return ""


def _protocol(dataset: DicomHeader, times: tuple[float | None, ...], grid: Grid) -> tuple[str, ...]:
    """Describe the protocol: timing to 1 ms, as in side-cars, or else sequence, matrix, pixel spacing and kernel."""
    timing = tuple("" if one is None else str(round(one)) for one in times)
    if any(timing):
        return timing
    words = tags.get_tag_words(dataset, "ScanningSequence") + tags.get_tag_words(dataset, "SequenceVariant")
    made = tags.get_tag_words(dataset, "ConvolutionKernel")
    corrected = ("ATTN",) if "ATTN" in tags.get_tag_words(dataset, "CorrectedImage") else ()
    rows, columns, spacing = grid
    return (*words, str(rows), str(columns), *(f"{one:.2f}" for one in spacing or ()), *made, *corrected)


def _flags(dataset: DicomHeader) -> tuple[str, ...]:
    said = {
        ScanFlag.INVERTED: tags.get_tag_text(dataset, "PhotometricInterpretation").upper() == "MONOCHROME1",
        ScanFlag.BURNED_IN: tags.get_tag_text(dataset, "BurnedInAnnotation").upper() == "YES",
        ScanFlag.LOSSY: tags.get_tag_text(dataset, "LossyImageCompression") == "01"
        or tags.get_tag_text(getattr(dataset, "file_meta", None), "TransferSyntaxUID") in LOSSY_SYNTAX_UIDS,
    }
    return tuple(flag for flag, holds in said.items() if holds)
