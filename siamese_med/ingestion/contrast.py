"""The contrast of an image as a word of a closed vocabulary; free text is searched, never kept."""

from __future__ import annotations

import re
from collections.abc import Sequence

from siamese_med.ingestion.agent_words import AGENT, names_agent_word, tells_agent, tells_both, tells_no_agent
from siamese_med.ingestion.image_kinds import OTHER_PATTERN, OTHER_SUFFIXES
from siamese_med.ingestion.tracers import TRACERS, find_tracer
from siamese_med.study.contrasts import OTHER_CONTRAST

ENHANCED_T1 = "T1wCE"
"""T1-weighted after a contrast agent. An enhancing lesion is no change against a plain T1, so the two differ."""

ENHANCED_CT = "CTCE"
"""CT after a contrast agent."""

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
    "asl",
    "CT",
    ENHANCED_CT,
    "PET",
    "phase",
    "inv1",
    "inv2",
    "STIR",
    "DIR",
    "PSIR",
    "MTw",
    "fat",
    "opposed",
    "T1map",
    "T2map",
    "T2starmap",
    "R2starmap",
    "PDmap",
    "Chimap",
    "ADC",
    "FA",
    "CBF",
    "CBV",
    "MTT",
    "TTP",
    OTHER_CONTRAST,
    *TRACERS,
    "unknown",
)
"""All words for contrast; most are BIDS suffixes. None of two that differ shows tissue in one way."""

MAP_WORDS = (
    "T1map", "T2map", "T2starmap", "R2starmap", "PDmap", "Chimap", "ADC", "FA", "CBF", "CBV", "MTT", "TTP"
)  # fmt: skip
"""Contrasts that are maps of a quantity, worked out of several images."""

CONTRAST_BY_SUFFIX = {
    "t1w": "T1w", "t2w": "T2w", "flair": "FLAIR", "pdw": "PDw", "t2starw": "T2starw", "swi": "SWI", "angio": "MRA",
    "dwi": "dwi", "bold": "bold", "epi": "epi", "ct": "CT", "pet": "PET", "mp2rage": "T1w", "uni": "T1w",
    "unit1": "T1w", "inplanet1": "T1w", "inplanet2": "T2w", "phase": "phase", "megre": "T2starw", "asl": "asl",
    **{word.lower(): word for word in (*MAP_WORDS, "STIR", "DIR", "PSIR")},
    **dict.fromkeys(OTHER_SUFFIXES, OTHER_CONTRAST),
}  # fmt: skip
"""Contrast by the last part of a BIDS file name, in lower case."""

MASK_SUFFIXES = ("mask", "dseg", "probseg", "seg", "gt")
"""Last parts of the names of masks and segmentations."""

PHASE = "phase"
"""The word for an image that is no magnitude."""

PHASE_PATTERN = re.compile(
    r"(?:^|_)part-(phase|real|imag)(?:_|$)|_(phasediff|phase[12]|pha?|phase|real|imaginary|imag)([a-z]|_e\d+)?$|"
    r"^(pha|phase)$",
    re.I,
)
"""Names of images that are no magnitude: in BIDS, and as dcm2niix writes them (`_ph`, `_e2_ph`, `_real`)."""

INVERSION_PATTERNS = (("inv1", r"inv[-_ ]?0*1(st)?"), ("inv2", r"inv[-_ ]?0*2(nd)?"))
"""The two inversion times of an MP2RAGE, which look like two contrasts; they are named beside the sequence."""

CONTRAST_PATTERNS = (
    *INVERSION_PATTERNS,
    (OTHER_CONTRAST, OTHER_PATTERN),
    ("T2starmap", r"t2[ _-]?(\*|star)[ _-]?maps?"),
    ("R2starmap", r"r2[ _-]?(\*|star)([ _-]?maps?)?"),
    ("T1map", r"t1[ _-]?maps?"),
    ("T2map", r"t2[ _-]?maps?"),
    ("PDmap", r"pd[ _-]?maps?"),
    ("Chimap", r"qsm|chi[ _-]?map"),
    ("ADC", r"adc([ _-]?map)?|apparent[ _-]diffusion|average[ _-]dc"),
    ("FA", r"(dti|dwi|dtensor|tensor|diff\w*)[ _-]+fa|fa[ _-]?map|fractional[ _-]an\w*"),
    ("asl", r"p?c?asl|arterial[ _-]spin[ _-]label\w*"),
    *((word, rf"(rel|reg|r|q)?[ _-]?{word.lower()}([ _-]?map)?") for word in ("CBF", "CBV", "MTT", "TTP")),
    ("STIR", r"stir|short[ _-]t(au|i)"),
    ("DIR", r"dir(?!-)|double[ _-]?(inversion|ir)([ _-]recovery)?"),
    ("PSIR", r"psir|phase[ _-]sensitive"),
    ("T1w", r"t1w?[ _-]?flair|flair[ _-]?t1w?|t1w?([ _-](tirm|tse|ir|space|blade|tra|sag|cor))*[ _-]dark[ _-]?fluid"),
    ("FLAIR", r"flair|dark[ _-]?fluid|tirm|t2f"),
    ("dwi", r"dwi|dti|diff(usion)?|adc|trace|tensor|ep2d_diff"),
    ("bold", r"bold|fmri|resting|rest[ _-]state"),
    ("SWI", r"swi|swan|susceptibility"),
    ("MRA", r"tof|mra|mrv|angio|pc[ _-]?mra|phase[ _-]contrast"),
    ("T2starw", r"t2[ _-]?(\*|star)|gre[ _-]?t2|t2w?[ _-]?(gre|ffe|fl2d|fgre|mpgr)|hemo"),
    ("T1w", rf"(inplane|c)?t1(wi?|[ _-]?weighted)?(c|n|pre|post|nativ\w*|{AGENT})?"),
    ("T1w", r"mp[ _-]?rage|f?spgr|bravo|mp2rage|vibe|tfl|mdeft"),
    ("T2w", r"(inplane)?t2(wi?|[ _-]?weighted)?"),
    ("T2w", r"fiesta|ciss|b-?ffe|tru(e[ _-]?)?fi(sp)?"),
    ("PDw", r"pdw?|proton[ _-]?density"),
)
"""Regular expressions for series descriptions; the first match counts, so `T2 FLAIR` is FLAIR.

A map of relaxation times is no weighted image.
"""

FILE_NAME_PATTERNS = (*CONTRAST_PATTERNS, ("T1w", r"mpr"))
"""The same for file names. `mpr` is short for MPRAGE there; in a description it is a reformatted series."""

PROJECTION_PATTERN = re.compile(
    r"(?<![a-z0-9])(mi?n?[ _-]?ips?|max[ _-]?ips?|min[ _-]?ips?|pjn|col(?=:)|collapsed)(?![a-z0-9])", re.I
)
"""Names of projections of the largest or smallest value along a line: MIP, minIP, and GE's PJN and COL."""

PATIENT_ENTITIES_PATTERN = re.compile(r"(?:^|(?<=_))(sub|ses|task|run)-[^_]*", re.I)
"""BIDS entities that do not tell the contrast: a session may be called `post`."""

FOLDER_FILLER_PATTERN = re.compile(
    r"\d+|\d*(mm|iso)|[23]d|ax(ial)?|sag(ittal)?|cor(onal)?|tra(nsversal)?|p\d|se|tse|fse|gre|ir|fs|fat|sat|brain|head|"
    rf"mri?|anat|nii|nifti|dicom|dcm|images?|scans?|series?|raw|pre|post|c|w|o|with|no|non|without|plain|native|{AGENT}",
    re.I,
)
"""Words that stand beside a contrast in the name of a folder with scans of one contrast."""

GROUP_NUMBER_PATTERN = re.compile(
    r"^_?(pd|ce|gd|km|gad|mdc)[ _-]?(\d+|patients?|pat|subj\w*|groups?)(?=[ _.-]|$)", re.I
)
"""Groups and initials with the number of a patient at the beginning of a name: `PD_001` may have Parkinson's."""

PERSON_PATTERN = re.compile(r"^_?(swan|trace|bold|mra)([ _-]?\d+)?(?=[ _-])", re.I)
"""Names of people at the beginning of a name that goes on with a contrast."""

GROUP_FOLDERS = ("pd",)
"""Names of folders, in lower case, that may be those of a group, and tell nothing by themselves."""

FOLDERS_SEARCHED = 3
"""So many folders above a file are searched, the nearest first: a series, a visit and a patient."""

FIELD_MAP_PATTERN = re.compile(
    r"(?<![a-z])(pe[ =_-]?(ap|pa|rl|lr)|spin[ _-]?echo[ _-]?field[ _-]?map|field[ _-]?map|topup|blip)", re.I
)
"""Series descriptions of static field maps, such as pairs of opposite phase encoding."""

LOCALIZER_PATTERN = re.compile(
    r"(?<![a-z])(lo[ck]ali[sz](er|ador|ator)|scout|surview|topogram|scanogram|3[ -]?pl(ane)?s?[ _-]?loc|"
    r"aahead|aahscout|smart[ _-]?brain)|"
    r"^(?!.*(t[12]|flair|mp[ _-]?rage)).*(?<![a-z])survey|"
    r"^\W*(loc|pilot|tri-?pilot|plan[ _-]?scan|scano|rep[e\u00e9]rage)"
    r"([\W_]*(\d+|3?[ _-]?pl\w*|sag|cor|tra|ax\w*))*\W*$",
    re.I,
)
"""Series descriptions of localizers. A `T1 BRAIN SURVEY` may be a scan; a true one is known by its planes."""


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
    return ENHANCED_T1 if found == "T1w" and tells_agent(description, after_t1=False) else found


def _search(text: str, patterns: Sequence[tuple[str, str]]) -> str:
    """Return the contrast of the first pattern that is a word of the text, or part of one.

    Words end before a capital, and behind 2D or 3D.
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    parted = re.sub(r"(?<![A-Za-z0-9])([23])[dD](?=[Tt][12]|[Ff][Ll][Aa])", r"\1D ", parted)
    for contrast, pattern in patterns:
        if any(re.search(rf"(?<![a-z0-9])({pattern})(?![a-z0-9])", one, re.I) for one in (text, parted)):
            return contrast
    return "unknown"


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
    kind = _drop_group(re.sub(r"(?:^|(?<=_))(sub|ses)-[^_-]*", "", stem, flags=re.I))
    inversion = _search(kind, INVERSION_PATTERNS)
    if inversion != "unknown":
        return inversion
    found = CONTRAST_BY_SUFFIX.get(kind.rsplit("_", 1)[-1].lower()) or _search(kind, FILE_NAME_PATTERNS)
    named = _drop_group(PATIENT_ENTITIES_PATTERN.sub("", stem))
    if found == "CT":
        return ENHANCED_CT if tells_agent(named, after_t1=True) else "CT"
    if found == "PET":
        return find_tracer(named)
    if found != "T1w":
        return found
    if tells_both(named):
        return "unknown"
    return ENHANCED_T1 if tells_agent(named, after_t1=True) else found


def _drop_group(name: str) -> str:
    """Return a name without the patient or group at its beginning that is spelled as a contrast or an agent is."""
    rest = GROUP_NUMBER_PATTERN.sub("", name)
    without = PERSON_PATTERN.sub("", rest)
    return without if without != rest and _search(without, FILE_NAME_PATTERNS) != "unknown" else rest


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
        if folder.lower() in GROUP_FOLDERS:
            continue
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
    return tells_no_agent(PATIENT_ENTITIES_PATTERN.sub("", stem))


def is_enhanced_name(stem: str) -> bool:
    """Tell whether a file name says that a contrast agent was given, of any weighting.

    Examples
    --------
    >>> is_enhanced_name("FLAIR_post_Gd"), is_enhanced_name("sub-01_ses-post_FLAIR"), is_enhanced_name("post_FLAIR")
    (True, False, False)
    """
    return names_agent_word(PATIENT_ENTITIES_PATTERN.sub("", stem))


def is_phase_name(stem: str) -> bool:
    """Tell whether a file name says that the image is no magnitude: phase, real or imaginary part.

    Examples
    --------
    >>> is_phase_name("sub-01_echo-1_part-phase_T2starw"), is_phase_name("sub-01_part-mag_T2starw")
    (True, False)
    """
    return bool(PHASE_PATTERN.search(stem))


def is_projection_name(text: str) -> bool:
    """Tell whether a series description or a file name is that of a projection: thick slabs show other tissue.

    Examples
    --------
    >>> is_projection_name("mIP_Images(SW)"), is_projection_name("sub-01_minIP"), is_projection_name("tof_mid")
    (True, True, False)
    """
    return bool(PROJECTION_PATTERN.search(text))


def is_mask_name(stem: str) -> bool:
    """Tell whether a file name (without endings) is that of a mask or segmentation.

    Examples
    --------
    >>> is_mask_name("sub-01_T1w_mask"), is_mask_name("brainmask"), is_mask_name("BraTS-GLI-00005-100-seg")
    (True, True, True)
    >>> is_mask_name("ses-1_sub-seg")
    False
    """
    last = stem.rsplit("_", 1)[-1].lower()
    if not PATIENT_ENTITIES_PATTERN.fullmatch(last):
        last = re.split("[-.]", last)[-1]
    return last in MASK_SUFFIXES or last.endswith("mask")
