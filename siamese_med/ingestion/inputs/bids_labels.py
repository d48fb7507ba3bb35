"""Subject and session labels of BIDS paths: taken whole from the folders, and checked against the file's name.

A label may hold underscores, hyphens, dots, spaces and any letter, as in real studies, although BIDS allows only ASCII
letters and digits. Upper and lower case differ. The two Unicode forms of a letter (composed, as most systems write it,
and decomposed, as macOS does) are the same label.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from siamese_med.ingestion import contrast

BIDS_ENTITIES = {
    "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec", "dir", "run", "mod",
    "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "seg", "res",
    "den", "label", "desc", "atlas", "scale", "from", "to", "mode", "tpl", "cohort", "model", "subset",
    "feature",
}  # fmt: skip
"""Keys of BIDS entities (BIDS specification, appendix "Entities"): `_run-` ends a label, `_S-` may be a part of it."""

BIDS_IMAGE_SUFFIXES = {
    *contrast.CONTRAST_BY_SUFFIX,
    "unit1", "megre", "mese", "vfa", "irt1", "mpm", "mts", "mtr", "pdt2", "inplanet1", "inplanet2", "t1map",
    "t2map", "t2starmap", "r1map", "r2map", "r2starmap", "pdmap", "mtsat", "mtrmap", "tb1map", "tb1dam",
    "tb1epi", "tb1tfl", "m0map", "s0map", "chimap", "t1rho", "fieldmap", "magnitude", "magnitude1",
    "magnitude2", "phase1", "phase2", "phasediff", "sbref", "cbv", "asl", "m0scan", "adc", "fa", "trace",
    "colfa", "expadc", "s0", "defacemask", "mask", "dseg", "probseg", "seg", "gt",
}  # fmt: skip
"""Suffixes of BIDS image names (the last part, as `T1w`), in lower case."""

INFORMAL_SUFFIXES = {
    "scan", "image", "img", "volume", "vol", "brain", "head", "anat", "mri", "mr", "ct", "pet", "orig", "raw",
    "lesion", "lesions", "roi",
}  # fmt: skip
"""Words that often stand last in names that are not quite BIDS, as `sub-01_brain.nii`."""

SPELLED_CONTRASTS = {"T1w", "T2w", "FLAIR", "PDw", "T2starw", "UNIT1", "inplaneT1", "inplaneT2"}
"""Suffixes whose spelling no label has by chance: one of them ends a label also where something else follows it."""

ALL_SUFFIXES = BIDS_IMAGE_SUFFIXES | INFORMAL_SUFFIXES

SUBJECT_PATTERN = re.compile(r"(?:^|_)sub-")
DERIVATIVE_ENTITY_PATTERN = re.compile(r"_(space|desc|res|den|atlas|from)-[A-Za-z0-9]+_")
SESSION_PATTERN = re.compile(r"(?:^|_)ses-")


@dataclass(frozen=True, slots=True)
class BidsLabels:
    """Subject and session of a path; `problem` is a reason word where the path contradicts itself, else empty."""

    subject: str = ""
    session: str = ""
    problem: str = ""


def is_derivative_name(stem: str) -> bool:
    """Tell whether a BIDS name is that of a derivative: raw images of MR have no `space-`, `desc-`, `res-` or the like.

    Examples
    --------
    >>> is_derivative_name("sub-01_space-MNI152_T1w"), is_derivative_name("sub-01_acq-fast_T1w")
    (True, False)
    """
    return bool(DERIVATIVE_ENTITY_PATTERN.search(stem))


def normalise_unicode(text: str) -> str:
    r"""Compose the letters of a text (Unicode normalisation form C).

    Examples
    --------
    >>> normalise_unicode("Mu\u0308ller") == "M\u00fcller"
    True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def read_bids_labels(folders: Sequence[str], stem: str) -> BidsLabels:
    """Read subject and session from a file's folders and name.

    Parameters
    ----------
    folders
        Names of the folders from the dataset down to the file, outermost first.
    stem
        File name without its suffixes, see `bids_metadata.get_image_stem`.

    Returns
    -------
    BidsLabels
        The labels, empty where the path has none; or a `problem`: `subject_conflict` or `session_conflict` where folder
        and name differ, `unclear_label` where the end of a label in the name is not clear.

    Examples
    --------
    >>> read_bids_labels(["sub-002_S_0413", "ses-2"], "sub-002_S_0413_ses-2_T1w")
    BidsLabels(subject='002_S_0413', session='2', problem='')
    >>> read_bids_labels(["sub-01"], "sub-02_T1w").problem
    'subject_conflict'
    """
    above, name = _of_folders(tuple(folders)), normalise_unicode(stem)
    if above.problem:
        return above
    subjects = len(SUBJECT_PATTERN.findall(name))
    if subjects > 1:
        return BidsLabels(problem="unclear_label")
    subject = above.subject or _subject_from_inner_folder(folders, subjects)
    if subjects and not subject:
        subject, problem = _without_folder(_text_after(SUBJECT_PATTERN, name))
    else:
        problem = "" if not subjects or _agrees(subject, _text_after(SUBJECT_PATTERN, name)) else "subject_conflict"
    if problem or not subject:
        return BidsLabels(problem=problem)
    session = above.session
    if SESSION_PATTERN.search(name):
        if not session:
            session, problem = _without_folder(_text_after(SESSION_PATTERN, name))
        elif not _agrees(session, _text_after(SESSION_PATTERN, name)):
            problem = "session_conflict"
    return BidsLabels(problem=problem) if problem else BidsLabels(subject, session)


@lru_cache(maxsize=4096)
def _of_folders(folders: tuple[str, ...]) -> BidsLabels:
    """Read the one subject and session that the folders name."""
    subjects, sessions = set(), set()
    for folder in map(normalise_unicode, folders):
        if folder.startswith("sub-") and len(folder) > len("sub-"):
            subject, session = _of_folder(folder)
            subjects.add(subject)
            sessions.update([session] if session else [])
        elif folder.startswith("ses-") and len(folder) > len("ses-"):
            sessions.add(folder.removeprefix("ses-"))
    if len(subjects) > 1:
        return BidsLabels(problem="subject_conflict")
    if len(sessions) > 1 and subjects:
        return BidsLabels(problem="session_conflict")
    return BidsLabels("".join(subjects), sessions.pop() if len(sessions) == 1 else "")


def _of_folder(folder: str) -> tuple[str, str]:
    """Read `sub-002_S_0413`, and also `sub-01_ses-02` and `sub-01_T1w`, which occur although BIDS forbids them."""
    tokens = folder.removeprefix("sub-").split("_")
    end = next((place for place, token in enumerate(tokens) if place and _is_entity(token)), len(tokens))
    while 1 < end == len(tokens) and tokens[-1].lower() in BIDS_IMAGE_SUFFIXES:
        tokens, end = tokens[:-1], end - 1
    rest = "_".join(tokens[end:])
    session = _without_folder(rest.removeprefix("ses-"))[0] if rest.startswith("ses-") else ""
    return "_".join(tokens[:end]), session


def _subject_from_inner_folder(folders: Sequence[str], named: int) -> str:
    """The label of a folder like `visit_sub-01`, where neither a folder `sub-` nor the file's name has one."""
    if named:
        return ""
    within = (normalise_unicode(folder) for folder in reversed(folders))
    return next(
        (_of_folder(f"sub-{_text_after(SUBJECT_PATTERN, one)}")[0] for one in within if SUBJECT_PATTERN.search(one)), ""
    )


def _text_after(entity: re.Pattern[str], name: str) -> str:
    found = entity.search(name)
    return name[found.end() :] if found else ""


def _without_folder(text: str) -> tuple[str, str]:
    """Read the label at the beginning of `002_S_0413_ses-1_T1w`, with a problem where its end is not clear."""
    tokens = text.split("_")
    ends = (place for place, token in enumerate(tokens) if place and (_is_entity(token) or token in SPELLED_CONTRASTS))
    end = next(ends, len(tokens))
    known = end < len(tokens)
    while 1 < end == len(tokens) and _is_word(tokens[-1]):
        tokens, end, known = tokens[:-1], end - 1, True
    label = "_".join(tokens[:end])
    clear = end == 1 or (known and not any(_may_be_entity(token) for token in tokens[1:end]))
    return (label, "") if label and clear else ("", "unclear_label")


def _agrees(label: str, text: str) -> bool:
    """Whether what follows `sub-` in a file's name is this label, alone or before entities and a suffix."""
    if text == label:
        return True
    if not text.startswith(f"{label}_"):
        return False
    tokens = text[len(label) + 1 :].split("_")
    if tokens[0] in SPELLED_CONTRASTS:  # dcm2niix writes more behind it: _e1, _ph, _Eq_1, _Tilt_1
        return True
    end = next((place for place, token in enumerate(tokens) if _is_entity(token)), len(tokens))
    last_may_be_any_word = end == len(tokens) and len(tokens[-1]) > 1 and tokens[-1].isalpha()
    return all(_is_word(token) for token in tokens[: end - last_may_be_any_word])


def _is_entity(token: str) -> bool:
    key, hyphen, value = token.partition("-")
    return bool(hyphen and value) and key in BIDS_ENTITIES


def _may_be_entity(token: str) -> bool:
    """Tell whether a token has the form of a BIDS entity under a key that BIDS does not know."""
    key, hyphen, _ = token.partition("-")
    return bool(hyphen) and key.isascii() and key.isalpha() and key.islower()


def _is_word(token: str) -> bool:
    """Tell whether a token says what kind of image it is, and so is no part of a label."""
    return token.lower() in ALL_SUFFIXES or contrast.guess_contrast_from_text(token) != "unknown"
