"""The contrast of an image as a word of a closed vocabulary; free text is searched, never kept."""

from __future__ import annotations

import re
from functools import lru_cache

CONTRASTS = (
    "T1w",
    "T2w",
    "FLAIR",
    "PDw",
    "T2starw",
    "SWI",
    "MRA",
    "dwi",
    "bold",
    "epi",
    "CT",
    "PET",
    "phase",
    "unknown",
)
"""All words for contrast; most are BIDS suffixes."""

CONTRAST_BY_SUFFIX = {
    "t1w": "T1w", "t2w": "T2w", "flair": "FLAIR", "pdw": "PDw", "t2starw": "T2starw", "swi": "SWI", "angio": "MRA",
    "dwi": "dwi", "bold": "bold", "epi": "epi", "ct": "CT", "pet": "PET", "mp2rage": "T1w", "uni": "T1w",
    "phase": "phase",
}  # fmt: skip
"""Contrast by the last part of a BIDS file name, in lower case."""

MASK_SUFFIXES = ("mask", "dseg", "probseg", "seg", "gt")
"""Last parts of the names of masks and segmentations."""

CONTRAST_PATTERNS = (
    ("FLAIR", r"flair|dark[ _-]?fluid|tirm"),
    ("dwi", r"dwi|dti|diff(usion)?|adc|trace|tensor|ep2d_diff"),
    ("bold", r"bold|fmri|resting|rest[ _-]state"),
    ("SWI", r"swi|swan|susceptibility"),
    ("MRA", r"tof|mra|angio"),
    ("T2starw", r"t2[ _-]?(\*|star)|gre[ _-]?t2|hemo"),
    ("T1w", r"t1w?|mp[ _-]?rage|spgr|bravo|mp2rage|vibe|tfl"),
    ("T2w", r"t2w?"),
    ("PDw", r"pdw?|proton[ _-]?density"),
)
"""Regular expressions for series descriptions; the first match counts, so `T2 FLAIR` is FLAIR."""

FIELD_MAP_PATTERN = re.compile(
    r"(?<![a-z])(pe[ =_-]?(ap|pa|rl|lr)|spin[ _-]?echo[ _-]?field[ _-]?map|field[ _-]?map|topup|blip)", re.I
)
"""Series descriptions of static field maps, such as pairs of opposite phase encoding."""

LOCALIZER_PATTERN = re.compile(
    r"(?<![a-z])(locali[sz]er|scout|survey|surview|topogram|scanogram|3[ -]?plane[ _-]?loc|aahead)", re.I
)
"""Series descriptions of localizers."""


def guess_contrast_from_text(description: str) -> str:
    """Guess the contrast from a series description or file name; `unknown` where nothing matches.

    Examples
    --------
    >>> guess_contrast_from_text("Sag 3D T2 FLAIR"), guess_contrast_from_text("AX T1 MPRAGE")
    ('FLAIR', 'T1w')
    """
    for contrast, pattern in CONTRAST_PATTERNS:
        if re.search(rf"(?<![a-z0-9])({pattern})(?![a-z0-9])", description, re.I):
            return contrast
    return "unknown"


def guess_contrast_from_name(stem: str) -> str:
    """Guess the contrast from a file name: from its BIDS suffix, else from the whole name.

    Examples
    --------
    >>> guess_contrast_from_name("sub-01_ses-2_T2w")
    'T2w'
    """
    return CONTRAST_BY_SUFFIX.get(stem.rsplit("_", 1)[-1].lower()) or guess_contrast_from_text(stem)


def is_mask_name(stem: str) -> bool:
    """Tell whether a file name (without endings) is that of a mask or segmentation.

    Examples
    --------
    >>> is_mask_name("sub-01_T1w_mask")
    True
    """
    return stem.rsplit("_", 1)[-1].lower() in MASK_SUFFIXES


def guess_contrast_from_timing(repetition_ms: float | None, echo_ms: float | None, inversion_ms: float | None) -> str:
    """Guess the weighting of a spin or gradient echo from its timing.

    Parameters
    ----------
    repetition_ms, echo_ms, inversion_ms
        Repetition, echo and inversion time in ms; None where not known.

    Returns
    -------
    str
        FLAIR, T1w, T2w, PDw, or `unknown` between the usual ranges.

    Examples
    --------
    >>> guess_contrast_from_timing(500.0, 10.0, None), guess_contrast_from_timing(4000.0, 90.0, None)
    ('T1w', 'T2w')
    """
    if repetition_ms is None or echo_ms is None:
        return "unknown"
    if inversion_ms is not None and inversion_ms > 1500 and echo_ms > 60:
        return "FLAIR"
    if echo_ms < 30 and (repetition_ms < 1000 or (inversion_ms or 0) > 0):
        return "T1w"
    if repetition_ms >= 2000 and echo_ms >= 70:
        return "T2w"
    if repetition_ms >= 2000 and echo_ms < 30:
        return "PDw"
    return "unknown"


@lru_cache(maxsize=1024)
def classify_series_contrast(
    modality: str, description: str, times_ms: tuple[float | None, float | None, float | None]
) -> str:
    """Classify the contrast of a DICOM series.

    The modality decides for CT and PET; for MR the description does, and where it says nothing, the timing.

    Parameters
    ----------
    modality
        MR, CT or PT.
    description
        Series description and protocol name.
    times_ms
        Repetition, echo and inversion time in ms.
    """
    if modality in ("CT", "PT"):
        return {"CT": "CT", "PT": "PET"}[modality]
    spoken = guess_contrast_from_text(description)
    return spoken if spoken != "unknown" else guess_contrast_from_timing(*times_ms)
