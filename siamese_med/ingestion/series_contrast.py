"""The contrast of a series by its header: what it is called, weighed against how it was acquired.

A name can be wrong or say too little: `FLAIR` at TE 9 ms and TI 860 ms is T1-weighted, and a short inversion time nulls
fat, whatever the series is called. Where name and timing exclude one another, the contrast is unknown, and the image is
asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from siamese_med.ingestion import agent_words, contrast
from siamese_med.ingestion.contrast import ENHANCED_T1
from siamese_med.ingestion.image_kinds import find_computed_tomography_kind
from siamese_med.ingestion.tracers import find_tracer
from siamese_med.study.vocabulary import UNKNOWN

Times = tuple[float | None, float | None, float | None]
"""Repetition, echo and inversion time in ms; None where not known."""

GRADIENT_ECHO_T2STAR_MS = 12.0
"""A gradient echo as late as this is T2*-weighted. Unit: ms. Source: our choice, between usual T1 and T2* protocols."""

FAT_NULLING_MS = (80.0, 280.0)
"""Inversion times that null fat (STIR): about 150 ms at 1.5 tesla, 220 ms at 3 tesla, less below. Unit: ms.

Source: ln 2 times the T1 of fat; Bydder and Young, J Comput Assist Tomogr 1985."""

T1_FLAIR_MS = (400.0, 1400.0)
"""Inversion times of a T1-weighted inversion recovery: far shorter than those that null fluid. Unit: ms.

Source: our choice."""

SHORT_ECHO_MS, LONG_ECHO_MS = 30.0, 70.0
"""Spin echoes are T1- or PD-weighted below the first and T2-weighted above the second. Unit: ms. Source: our choice."""

KIND_BY_IMAGE_TYPE = {
    "ADC": "ADC", "FA": "FA", "F": "fat", "FAT": "fat", "OP": "opposed", "OPP_PHASE": "opposed",
    "OUT_PHASE": "opposed", "OPPOSED_PHASE": "opposed", "OUT_OF_PHASE": "opposed", "T1 MAP": "T1map", "T2 MAP": "T2map",
    "T2_STAR MAP": "T2starmap", "R2_STAR": "R2starmap", "R2_STAR MAP": "R2starmap", "RELCBF": "CBF", "RELCBV": "CBV",
    "RELMTT": "MTT", "TTP": "TTP", "CBF": "CBF", "CBV": "CBV", "MTT": "MTT", "T1MAP": "T1map", "T2MAP": "T2map",
    "PCA": "MRA", "ASL": "asl",
}  # fmt: skip
"""Kinds of image by a word of Image Type, as Siemens, GE and Philips write them; `F` and `OP` are Philips' Dixon."""

WATER_TYPES = {"W", "WATER"}
"""Words of Image Type of Dixon's image of water: it shows no fat."""

KIND_BY_DIXON_WORD = (
    ("fat", r"^fat ?:|(dixon|flex|ideal)\w*[ _-](.*[ _-])?(f|fat)$"),
    ("opposed", r"^(out|opp\w*)[ _-]?phase ?:|(dixon|flex|ideal)\w*[ _-](.*[ _-])?(op|opp|out|opposed|outphase)$"),
)
"""Kinds of Dixon image in the series description: Siemens writes `t1_vibe_dixon_F`, GE `FAT: Ax T1`."""

WATER_PATTERN = re.compile(r"^water ?:|(dixon|flex|ideal)\w*[ _-](.*[ _-])?(w|water)$", re.I)
"""Series descriptions of Dixon's image of water."""

MAP_PATTERN = re.compile(r"(?<![a-z0-9])(T1|T2|T2Star)_Images$")
"""Siemens' names of maps of relaxation times, which look like names of weighted images."""

MP2RAGE_PATTERN = re.compile(r"^(?!.*uni(?:t1|[ _-]?den|[ _-]?images)?(?![a-z])).*mp2rage", re.I)
"""Series descriptions of an MP2RAGE that do not name its uniform image."""

FIRST_INVERSION_MS = 1500.0
"""The first inversion time of an MP2RAGE is shorter, the second longer. Unit: ms. Source: our choice."""

PHASE_NAME_PATTERN = re.compile(
    r"^pha(se)?[ _-](images?|map)$|filt_pha|(swi|swan|gre|swip|qsm|b0|field[ _-]?map|t2\w*\*?)[ _-](.*[ _-])?pha(se)?"
    r"([ _-](images?|map))?$",
    re.I,
)
"""Series descriptions of phase images, where Image Type does not say so."""

TRANSFER_PATTERN = re.compile(r"(?<![a-z0-9])(mt[ _-]?(on|c|pulse)|magneti[sz]ation[ _-]transfer)(?![a-z0-9])", re.I)
"""Series descriptions of images with a pulse of magnetisation transfer."""

FAT_SUPPRESSION_PATTERN = re.compile(
    r"(?<![a-z0-9])(fs|fat[ _-]?(sat\w*|sup\w*|free)|fatsat|chem[ _-]?sat|spair|spir|fettsat\w*)(?![a-z0-9])",
    re.I,
)
"""Series descriptions of images in which fat was suppressed."""

WEIGHTINGS = ("T1w", ENHANCED_T1, "T2w", "PDw", "FLAIR")
"""Contrasts of which one acquisition may suppress fat and another one not."""


def guess_contrast_from_timing(
    repetition_ms: float | None, echo_ms: float | None, inversion_ms: float | None, sequence: str = ""
) -> str:
    """Guess the weighting of a spin or gradient echo from its timing.

    Parameters
    ----------
    repetition_ms, echo_ms, inversion_ms
        Repetition, echo and inversion time in ms; None where not known.
    sequence
        Scanning Sequence (DICOM 0018,0020): SE, IR, GR, EP or several of them. Echo-planar images are not judged.

    Returns
    -------
    str
        FLAIR, STIR, T1w, T2w, PDw, T2starw, or `unknown` between the usual ranges.

    Examples
    --------
    >>> guess_contrast_from_timing(500.0, 10.0, None), guess_contrast_from_timing(4000.0, 90.0, None)
    ('T1w', 'T2w')
    >>> guess_contrast_from_timing(600.0, 20.0, None, "GR"), guess_contrast_from_timing(2000.0, 28.0, None, "EP")
    ('T2starw', 'unknown')
    >>> guess_contrast_from_timing(4000.0, 30.0, 160.0, "IR")
    'STIR'
    """
    if repetition_ms is None or echo_ms is None or _is_echo_planar(sequence):
        return UNKNOWN
    if _is_gradient_echo(sequence) and echo_ms >= GRADIENT_ECHO_T2STAR_MS and not inversion_ms:
        return "T2starw"
    if _nulls_fat(inversion_ms, sequence):
        return "STIR"
    if inversion_ms is not None and inversion_ms > 1500 and echo_ms > 60:
        return "FLAIR"
    if echo_ms < SHORT_ECHO_MS and (repetition_ms < 1000 or (inversion_ms or 0) > 0):
        return "T1w"
    if repetition_ms >= 2000 and echo_ms >= LONG_ECHO_MS:
        return "T2w"
    if repetition_ms >= 2000 and echo_ms < SHORT_ECHO_MS:
        return "PDw"
    return UNKNOWN


def _is_echo_planar(sequence: str) -> bool:
    return "EP" in re.split(r"[^A-Z]+", sequence.upper())


def _is_gradient_echo(sequence: str) -> bool:
    kinds = re.split(r"[^A-Z]+", sequence.upper())
    return "GR" in kinds and "SE" not in kinds


def _nulls_fat(inversion_ms: float | None, sequence: str) -> bool:
    shortest, longest = FAT_NULLING_MS
    return inversion_ms is not None and shortest <= inversion_ms <= longest and not _is_gradient_echo(sequence)


def weigh_word_against_timing(word: str, times_ms: Times, sequence: str = "") -> str:
    """Return what a contrast that was named is by its timing; `unknown` where the two exclude one another.

    Parameters
    ----------
    word
        The contrast by the name of the series.
    times_ms, sequence
        As for `guess_contrast_from_timing`.

    Examples
    --------
    >>> [weigh_word_against_timing("FLAIR", times) for times in ((2000.0, 9.0, 860.0), (4000.0, 60.0, 150.0))]
    ['T1w', 'STIR']
    >>> weigh_word_against_timing("T1w", (5000.0, 95.0, None)), weigh_word_against_timing("T1w", (500.0, 12.0, None))
    ('unknown', 'T1w')
    >>> weigh_word_against_timing("T2w", (3000.0, 15.0, None))  # the first echo of two
    'PDw'
    """
    repetition, echo, inversion = times_ms
    if word not in WEIGHTINGS or _is_echo_planar(sequence):
        return word
    if _nulls_fat(inversion, sequence):
        return "STIR"
    if echo is None:
        return word
    if _is_gradient_echo(sequence):
        return "T2starw" if word == "T2w" and echo >= GRADIENT_ECHO_T2STAR_MS and not inversion else word
    if word == "FLAIR" and echo < SHORT_ECHO_MS and inversion and T1_FLAIR_MS[0] <= inversion <= T1_FLAIR_MS[1]:
        return "T1w"
    if word == "T2w" and echo > LONG_ECHO_MS and inversion and inversion > 1500:
        return "FLAIR"
    if word == "FLAIR" and echo < SHORT_ECHO_MS:
        return UNKNOWN if inversion else guess_contrast_from_timing(*times_ms, sequence)
    if word == "T2w" and echo < SHORT_ECHO_MS and repetition and not inversion:
        return UNKNOWN if repetition < 2000 else "PDw"
    return UNKNOWN if word in ("T1w", ENHANCED_T1, "PDw") and echo >= LONG_ECHO_MS else word


@lru_cache(maxsize=1024)
def classify_series_contrast(
    modality: str,
    description: str,
    times_ms: Times,
    sequence: str = "",
    agent: str = "",
    protocol: str = "",
    image_type: tuple[str, ...] = (),
) -> str:
    """Classify the contrast of a series by its header.

    The modality decides for CT and PET, with the contrast agent or the tracer. For MR it is what Image Type says, or
    the description, or else the protocol's name, which may be that of the whole examination; each weighed against the
    timing. Where none says anything, the timing alone tells. A contrast agent makes T1w `T1wCE`, unless the description
    says that it was not given yet.

    Parameters
    ----------
    modality
        MR, CT or PT.
    description
        Series description.
    times_ms
        Repetition, echo and inversion time in ms.
    sequence
        Scanning Sequence and Sequence Variant, see `guess_contrast_from_timing`.
    agent
        What the header's fields for a contrast agent hold, see `agent_words.names_agent`; of PET, for the tracer.
    protocol
        Protocol name.
    image_type
        Words of Image Type.

    Examples
    --------
    >>> classify_series_contrast("MR", "t2_tirm_cor", (4000.0, 60.0, 150.0), "IR")
    'STIR'
    >>> classify_series_contrast("MR", "AX T1", (500.0, 9.0, None), protocol="BRAIN FLAIR W/WO", agent="Gadavist")
    'T1wCE'
    """
    if modality == "CT":
        return find_computed_tomography_kind(description, agent_words.names_agent(agent))
    if modality == "PT":
        return find_tracer(agent, description, protocol)
    return _classify_mr_contrast(description, times_ms, sequence, agent, protocol, image_type)


def _classify_mr_contrast(
    description: str, times_ms: Times, sequence: str, agent: str, protocol: str, image_type: tuple[str, ...]
) -> str:
    special = find_kind(description, image_type)
    if special != UNKNOWN:
        return special
    by_description = contrast.guess_contrast_from_text(description)
    spoken = by_description if by_description != UNKNOWN else contrast.guess_contrast_from_text(protocol)
    found = weigh_word_against_timing(spoken, times_ms, sequence)
    if spoken == UNKNOWN:
        found = guess_contrast_from_timing(*times_ms, sequence)
    if found in ("T1w", "T2w", "PDw", UNKNOWN) and (TRANSFER_PATTERN.search(description) or _transfers(sequence)):
        return "MTw"
    if found == "T1w" and MP2RAGE_PATTERN.search(description) and "UNI" not in image_type and times_ms[2]:
        return "inv1" if times_ms[2] < FIRST_INVERSION_MS else "inv2"
    text = description if by_description != UNKNOWN else f"{description} {protocol}"
    given = agent_words.names_agent(agent) and not agent_words.tells_no_agent(text)
    if found != "T1w":
        return found
    if given or agent_words.tells_agent(text, after_t1=False):
        return ENHANCED_T1
    return UNKNOWN if agent_words.tells_both(text) else found


def _transfers(sequence: str) -> bool:
    return "MTC" in re.split(r"[^A-Z]+", sequence.upper())


def find_kind(description: str, image_type: Sequence[str]) -> str:
    """Find what one image of several of an acquisition is: a map, or one of Dixon's; `unknown` for none of them.

    Parameters
    ----------
    description
        Series description, or an empty text.
    image_type
        Words of Image Type.

    Examples
    --------
    >>> find_kind("", ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]), find_kind("t1_vibe_dixon_opp", [])
    ('ADC', 'opposed')
    """
    for word in image_type[2:]:
        if word in KIND_BY_IMAGE_TYPE:
            return KIND_BY_IMAGE_TYPE[word]
    if PHASE_NAME_PATTERN.search(description):
        return contrast.PHASE
    siemens = MAP_PATTERN.search(description)
    if siemens:
        return {"T1": "T1map", "T2": "T2map", "T2Star": "T2starmap"}[siemens[1]]
    return next((kind for kind, pattern in KIND_BY_DIXON_WORD if re.search(pattern, description, re.I)), UNKNOWN)


def suppresses_fat(word: str, description: str, options: Sequence[str] = (), image_type: Sequence[str] = ()) -> bool:
    """Tell whether fat was suppressed in an image of one of WEIGHTINGS.

    Parameters
    ----------
    word
        Its contrast.
    description
        Series description, or a file name.
    options
        Words of Scan Options (DICOM 0018,0022); `FS` is fat saturation.
    image_type
        Words of Image Type.

    Examples
    --------
    >>> suppresses_fat("T1wCE", "AX T1 FS +C"), suppresses_fat("T1w", "AX T1", ["FS"]), suppresses_fat("dwi", "dwi fs")
    (True, True, False)
    """
    return word in WEIGHTINGS and (
        "FS" in options
        or bool(FAT_SUPPRESSION_PATTERN.search(description) or WATER_PATTERN.search(description))
        or not WATER_TYPES.isdisjoint(image_type[2:])
    )
