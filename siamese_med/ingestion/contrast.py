"""The contrast of an image as a word of a closed vocabulary; free text is searched, never kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

ENHANCED_T1 = "T1wCE"
"""T1-weighted after a contrast agent. An enhancing lesion is no change against a plain T1, so the two differ."""

CONTRASTS = (
    "T1w",
    ENHANCED_T1,
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
    "inv1",
    "inv2",
    "unknown",
)
"""All words for contrast; most are BIDS suffixes."""

CONTRAST_BY_SUFFIX = {
    "t1w": "T1w", "t2w": "T2w", "flair": "FLAIR", "pdw": "PDw", "t2starw": "T2starw", "swi": "SWI", "angio": "MRA",
    "dwi": "dwi", "bold": "bold", "epi": "epi", "ct": "CT", "pet": "PET", "mp2rage": "T1w", "uni": "T1w",
    "unit1": "T1w", "inplanet1": "T1w", "inplanet2": "T2w", "phase": "phase",
}  # fmt: skip
"""Contrast by the last part of a BIDS file name, in lower case."""

MASK_SUFFIXES = ("mask", "dseg", "probseg", "seg", "gt")
"""Last parts of the names of masks and segmentations."""

PHASE = "phase"
"""The word for an image that is no magnitude."""

PHASE_PATTERN = re.compile(r"(?:^|_)part-(phase|real|imag)(?:_|$)|_(phasediff|phase[12])$", re.I)
"""BIDS names of images that are no magnitude."""

AGENT = (
    r"ce|gd|gad|gado\w*|gadavist|dotarem|magnevist|omniscan|multihance|prohance|km|mdc|contrast[eo]?|kontrast(mittel)?"
)
"""A contrast agent in names and descriptions; `km` is German, `mdc` Italian. Part of regular expressions."""

INVERSION_PATTERNS = (("inv1", r"inv[-_ ]?1(st)?"), ("inv2", r"inv[-_ ]?2(nd)?"))
"""The two inversion times of an MP2RAGE, which look like two contrasts; they are named beside the sequence."""

CONTRAST_PATTERNS = (
    *INVERSION_PATTERNS,
    ("unknown", r"(t1|t2|t2[ _-]?(\*|star)|pd)[ _-]?map(s|ping)?"),
    ("T1w", r"t1w?[ _-]?flair|flair[ _-]?t1w?"),
    ("FLAIR", r"flair|dark[ _-]?fluid|tirm|t2f"),
    ("dwi", r"dwi|dti|diff(usion)?|adc|trace|tensor|ep2d_diff"),
    ("bold", r"bold|fmri|resting|rest[ _-]state"),
    ("SWI", r"swi|swan|susceptibility"),
    ("MRA", r"tof|mra|angio"),
    ("T2starw", r"t2[ _-]?(\*|star)|gre[ _-]?t2|hemo"),
    ("T1w", rf"(inplane)?t1(wi?|[ _-]?weighted)?(c|n|pre|post|nativ\w*|{AGENT})?"),
    ("T1w", r"mp[ _-]?rage|f?spgr|bravo|mp2rage|vibe|tfl|mdeft"),
    ("T2w", r"(inplane)?t2(wi?|[ _-]?weighted)?"),
    ("PDw", r"pdw?|proton[ _-]?density"),
)
"""Regular expressions for series descriptions; the first match counts, so `T2 FLAIR` is FLAIR.

A map of relaxation times is no weighted image.
"""

FILE_NAME_PATTERNS = (*CONTRAST_PATTERNS, ("T1w", r"mpr"))
"""The same for file names. `mpr` is short for MPRAGE there; in a description it is a reformatted series."""

PLAIN_PATTERN = re.compile(
    rf"(?<![a-z0-9])(pr[eäé]|prae|non?|without|w ?/? ?o|s ?/|ohne|vor|sans|sin|sem|senza|before|"
    rf"avant|minus|ce-(no(ne)?|pre|without|plain))"
    rf"([ _.-]*({AGENT}|c))?(?![a-z0-9])",
    re.I,
)
"""Words that say that no contrast agent was given yet, with the name of the agent after them."""

AGENT_PATTERN = re.compile(
    rf"(?<![a-z0-9])({AGENT}|c\+|post[ _-]?({AGENT}|c)|enhanced|inj(ect\w*)?)(?![a-z0-9])"
    rf"|(?<![a-z0-9])t1(wi?|[ _-]?weighted)?(c|{AGENT}|[ _-]*\+)(?![a-z0-9])"
    rf"|\+[ _-]?({AGENT}|c|k)(?![a-z0-9])",
    re.I,
)
"""Words that say that a contrast agent was given."""

POST_PATTERN = re.compile(
    r"(?:(?<![a-z])|(?<=t1w))post(?![a-z0-9]|[ _-]*(op|surg|treat|therap|rt|radi|chemo|ictal|mortem|proc))", re.I
)
"""`post` for after contrast, and not after an operation or a treatment."""

PATIENT_ENTITIES_PATTERN = re.compile(r"(?:^|(?<=_))(sub|ses|task|run)-[^_]*", re.I)
"""BIDS entities that do not tell the contrast: a session may be called `post`."""

FOLDER_FILLER_PATTERN = re.compile(
    r"\d+|\d*(mm|iso)|[23]d|ax(ial)?|sag(ittal)?|cor(onal)?|tra(nsversal)?|p\d|se|tse|fse|gre|ir|fs|fat|sat|brain|head|"
    rf"mri?|anat|nii|nifti|dicom|dcm|images?|scans?|series?|raw|pre|post|c|w|o|with|no|non|without|plain|native|{AGENT}",
    re.I,
)
"""Words that stand beside a contrast in the name of a folder with scans of one contrast."""

FOLDERS_SEARCHED = 3
"""So many folders above a file are searched, the nearest first: a series, a visit and a patient."""

FIELD_MAP_PATTERN = re.compile(
    r"(?<![a-z])(pe[ =_-]?(ap|pa|rl|lr)|spin[ _-]?echo[ _-]?field[ _-]?map|field[ _-]?map|topup|blip)", re.I
)
"""Series descriptions of static field maps, such as pairs of opposite phase encoding."""

LOCALIZER_PATTERN = re.compile(
    r"(?<![a-z])(locali[sz]er|scout|survey|surview|topogram|scanogram|3[ -]?plane[ _-]?loc|aahead)", re.I
)
"""Series descriptions of localizers."""

GRADIENT_ECHO_T2STAR_MS = 12.0
"""A gradient echo as late as this is T2*-weighted. Unit: ms. Source: our choice, between usual T1 and T2* protocols."""

NO_AGENT_WORDS = ("", "no", "none", "n", "nil", "0", "na", "n/a", "without", "ohne", "unknown")
"""What stands in a header's field for the contrast agent where none was given, in lower case."""


def guess_contrast_from_text(description: str) -> str:
    """Guess the contrast from a series description; `unknown` where nothing matches.

    Examples
    --------
    >>> guess_contrast_from_text("Sag 3D T2 FLAIR"), guess_contrast_from_text("AX T1 MPRAGE")
    ('FLAIR', 'T1w')
    >>> guess_contrast_from_text("Post AX T1"), guess_contrast_from_text("T1 w/o contrast")
    ('T1wCE', 'T1w')
    """
    found = _search(description, CONTRAST_PATTERNS)
    return ENHANCED_T1 if found == "T1w" and _tells_agent(description, after_t1=False) else found


def _search(text: str, patterns: Sequence[tuple[str, str]]) -> str:
    """Return the contrast of the first pattern that is a word of the text, or begins with a capital inside one."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    for contrast, pattern in patterns:
        if any(re.search(rf"(?<![a-z0-9])({pattern})(?![a-z0-9])", one, re.I) for one in (text, parted)):
            return contrast
    return "unknown"


def _tells_agent(text: str, after_t1: bool) -> bool:
    """Tell whether a text names a contrast agent. With `after_t1`, a bare `post` counts only behind the weighting."""
    rest = PLAIN_PATTERN.sub(" ", text)
    if AGENT_PATTERN.search(rest):
        return True
    weighting = re.search(r"t1|mp[ _-]?rage|spgr|bravo|vibe|tfl|mpr", rest, re.I)
    return bool(POST_PATTERN.search(rest, weighting.end() if after_t1 and weighting else 0))


def guess_contrast_from_name(stem: str) -> str:
    """Guess the contrast from a file name: from its BIDS suffix, else from the whole name.

    A bare `post` means after contrast only behind the weighting: `post_T1` may be the visit after a treatment.

    Examples
    --------
    >>> guess_contrast_from_name("sub-01_ses-2_T2w"), guess_contrast_from_name("sub-01_ce-gadolinium_T1w")
    ('T2w', 'T1wCE')
    >>> guess_contrast_from_name("T1post"), guess_contrast_from_name("sub-01_ses-post_T1w")
    ('T1wCE', 'T1w')
    """
    inversion = _search(stem, INVERSION_PATTERNS)
    if inversion != "unknown":
        return inversion
    found = CONTRAST_BY_SUFFIX.get(stem.rsplit("_", 1)[-1].lower()) or _search(stem, FILE_NAME_PATTERNS)
    named = PATIENT_ENTITIES_PATTERN.sub("", stem)
    return ENHANCED_T1 if found == "T1w" and _tells_agent(named, after_t1=True) else found


def guess_contrast_from_folders(folders: Sequence[str]) -> str:
    """Guess the contrast from the folders of a file; `unknown` where none is named after a contrast alone.

    Only `FOLDERS_SEARCHED` folders are searched, and every word of the folder must be one of a contrast, a plane or a
    sequence: `FLAIR_study` may hold anything.

    Parameters
    ----------
    folders
        Names of the folders, outermost first.

    Examples
    --------
    >>> guess_contrast_from_folders(["patient 1", "T1_post"]), guess_contrast_from_folders(["FLAIR study"])
    ('T1wCE', 'unknown')
    """
    for folder in reversed(folders[-FOLDERS_SEARCHED:]):
        words = [word for word in re.split(r"[^A-Za-z0-9*+]+", folder) if word]
        if all(FOLDER_FILLER_PATTERN.fullmatch(word) or guess_contrast_from_name(word) != "unknown" for word in words):
            found = guess_contrast_from_name(folder)
            if found != "unknown":
                return found
    return "unknown"


def is_image_word(word: str) -> bool:
    """Tell whether one word of a file's name says what kind of image it is, and nothing of a person or a number.

    Examples
    --------
    >>> is_image_word("flair"), is_image_word("3d"), is_image_word("p2"), is_image_word("12"), is_image_word("anna")
    (True, True, False, False, False)
    """
    if word.isdigit() or re.fullmatch(r"[a-z]\d*", word, re.I):
        return guess_contrast_from_name(word) != "unknown"
    return bool(FOLDER_FILLER_PATTERN.fullmatch(word)) or guess_contrast_from_name(word) != "unknown"


def is_plain_name(stem: str) -> bool:
    """Tell whether a file name says that no contrast agent was given yet.

    Examples
    --------
    >>> is_plain_name("T1_pre"), is_plain_name("sub-01_ses-pre_T1w")
    (True, False)
    """
    return bool(PLAIN_PATTERN.search(PATIENT_ENTITIES_PATTERN.sub("", stem)))


def is_phase_name(stem: str) -> bool:
    """Tell whether a file name says that the image is no magnitude: phase, real or imaginary part.

    Examples
    --------
    >>> is_phase_name("sub-01_echo-1_part-phase_T2starw"), is_phase_name("sub-01_part-mag_T2starw")
    (True, False)
    """
    return bool(PHASE_PATTERN.search(stem))


def is_mask_name(stem: str) -> bool:
    """Tell whether a file name (without endings) is that of a mask or segmentation.

    Examples
    --------
    >>> is_mask_name("sub-01_T1w_mask"), is_mask_name("brainmask")
    (True, True)
    """
    last = stem.rsplit("_", 1)[-1].lower()
    return last in MASK_SUFFIXES or last.endswith("mask")


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
        FLAIR, T1w, T2w, PDw, T2starw, or `unknown` between the usual ranges.

    Examples
    --------
    >>> guess_contrast_from_timing(500.0, 10.0, None), guess_contrast_from_timing(4000.0, 90.0, None)
    ('T1w', 'T2w')
    >>> guess_contrast_from_timing(600.0, 20.0, None, "GR"), guess_contrast_from_timing(2000.0, 28.0, None, "EP")
    ('T2starw', 'unknown')
    """
    kinds = set(re.split(r"[^A-Z]+", sequence.upper()))
    if repetition_ms is None or echo_ms is None or "EP" in kinds:
        return "unknown"
    if "GR" in kinds and "SE" not in kinds and echo_ms >= GRADIENT_ECHO_T2STAR_MS and not inversion_ms:
        return "T2starw"
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
    modality: str,
    description: str,
    times_ms: tuple[float | None, float | None, float | None],
    sequence: str = "",
    agent: str = "",
) -> str:
    """Classify the contrast of a series by its header.

    The modality decides for CT and PET; for MR the description does, and where it says nothing, the timing. A contrast
    agent makes T1w `T1wCE`, unless the description says that it was not given yet.

    Parameters
    ----------
    modality
        MR, CT or PT.
    description
        Series description and protocol name.
    times_ms
        Repetition, echo and inversion time in ms.
    sequence
        Scanning Sequence, see `guess_contrast_from_timing`.
    agent
        What the header's fields for a contrast agent hold; see `NO_AGENT_WORDS`.
    """
    if modality in ("CT", "PT"):
        return {"CT": "CT", "PT": "PET"}[modality]
    spoken = guess_contrast_from_text(description)
    found = spoken if spoken != "unknown" else guess_contrast_from_timing(*times_ms, sequence)
    given = names_agent(agent) and not PLAIN_PATTERN.search(description)
    return ENHANCED_T1 if found == "T1w" and (given or _tells_agent(description, after_t1=False)) else found


def names_agent(agent: str) -> bool:
    """Tell whether a header's field for the contrast agent names one.

    Examples
    --------
    >>> names_agent("Gadovist 7.5 ml"), names_agent("NONE")
    (True, False)
    """
    return agent.strip().lower() not in NO_AGENT_WORDS
