"""Contrasts of scans: their names in words, and whether two scans are known to have one contrast."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from siamese_med.study.vocabulary import UNKNOWN

CONTRAST_NAMES = {
    "T1w": "T1",
    "T1wCE": "contrast-enhanced T1",
    "T2w": "T2",
    "FLAIR": "FLAIR",
    "PDw": "proton density",
    "T2starw": "T2*",
    "SWI": "SWI",
    "MRA": "angiography",
    "dwi": "diffusion",
    "bold": "BOLD",
    "epi": "EPI",
    "asl": "arterial spin labelling",
    "CT": "CT",
    "CTCE": "contrast-enhanced CT",
    "PET": "PET",
    "FDG": "FDG PET",
    "phase": "phase image",
    "STIR": "STIR",
    "MTw": "magnetisation transfer",
    "fat": "fat image",
    "opposed": "opposed-phase image",
    "other": "other image",
}
"""Contrasts as a page names them, by their word in the catalogue, in the order in which a page lists them."""

CONTRAST_NOT_KNOWN = "contrast not known"
"""Text on a page for a scan whose contrast the input does not tell."""


class ScanKind(Protocol):
    """Kind of image that a scan is, as the catalogue has it."""

    @property
    def modality(self) -> str: ...
    @property
    def contrast(self) -> str: ...


OTHER_CONTRAST = "other"
"""An image that is known to be no weighting and no map that has a word: two of them need not be of one kind."""

ENHANCED_CONTRASTS = ("T1wCE", "CTCE")
"""Contrasts after a contrast agent: two of them differ within minutes, without any change of the patient."""


def is_one_contrast(one: ScanKind, other: ScanKind) -> bool:
    """Return whether two scans are of one modality and of one contrast that is known.

    Two images of unknown contrast are not: those of one visit are more likely a T1 and a FLAIR than one sequence twice.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> flair = SimpleNamespace(modality="MR", contrast="FLAIR")
    >>> unknown = SimpleNamespace(modality="MR", contrast="unknown")
    >>> is_one_contrast(flair, flair), is_one_contrast(flair, unknown), is_one_contrast(unknown, unknown)
    (True, False, False)
    """
    return one.modality == other.modality and one.contrast == other.contrast != UNKNOWN


def describe_contrast(contrast: str | None, modality: str | None = None) -> str:
    """Name a contrast in words; a word that is not in CONTRAST_NAMES is its own name.

    Parameters
    ----------
    contrast, modality
        As in the catalogue; None counts as `unknown`. The modality is named where the contrast is not known and the
        modality is something other than MR.

    Examples
    --------
    >>> describe_contrast("T1wCE"), describe_contrast("FLAIR", "MR"), describe_contrast("unknown", "MR")
    ('contrast-enhanced T1', 'FLAIR', 'contrast not known')
    >>> describe_contrast("unknown", "CT")
    'CT'
    """
    if contrast and contrast != UNKNOWN:
        return CONTRAST_NAMES.get(contrast, contrast)
    return CONTRAST_NOT_KNOWN if modality in (None, "", UNKNOWN, "MR") else modality


def describe_stratum(stratum: str) -> str:
    """Name a stratum of pairs without change in words.

    Parameters
    ----------
    stratum
        `MODALITY CONTRAST, SCANNER`, or `MODALITY CONTRAST and CONTRAST, SCANNER`, as `noise_floor.NoiseStratum` has
        it. Any other text is returned as it is.

    Examples
    --------
    >>> describe_stratum("MR FLAIR, same scanner"), describe_stratum("unknown unknown, other scanner")
    ('FLAIR, same scanner', 'unknown contrast, other scanner')
    >>> describe_stratum("MR T1w and T2w, other scanner"), describe_stratum("synthetic")
    ('T1 and T2, other scanner', 'synthetic')
    """
    kind, comma, scanner = stratum.partition(", ")
    modality, space, contrasts = kind.partition(" ")
    if not (comma and space):
        return stratum
    names = [describe_contrast(one, modality) for one in contrasts.split(" and ")]
    words = "unknown contrast" if names == [CONTRAST_NOT_KNOWN] else join_words(names)
    return f"{words}, {scanner}"


def get_contrast_sort_key(name: str) -> tuple[int, str]:
    """Return the key that sorts contrasts in words: in the order of CONTRAST_NAMES, then the others by letter."""
    known = list(CONTRAST_NAMES.values())
    return (known.index(name) if name in known else len(known), name)


def sort_contrast_names(names: Iterable[str]) -> list[str]:
    """Sort contrasts in words by `get_contrast_sort_key`, each once.

    Examples
    --------
    >>> sort_contrast_names(["FLAIR", "contrast not known", "T1", "FLAIR"])
    ['T1', 'FLAIR', 'contrast not known']
    """
    return sorted(set(names), key=get_contrast_sort_key)


def join_contrasts(names: Iterable[str]) -> str:
    """Join contrasts in words, sorted and each once, to follow `in` in a sentence.

    Examples
    --------
    >>> join_contrasts(["FLAIR", "T1"]), join_contrasts(["contrast not known"])
    ('T1 and FLAIR', 'scans of unknown contrast')
    """
    places = {CONTRAST_NOT_KNOWN: "scans of unknown contrast"}
    return join_words([places.get(name, name) for name in sort_contrast_names(names)])


def join_words(words: Sequence[str]) -> str:
    """Join words as in a sentence.

    Examples
    --------
    >>> join_words(["T1"]), join_words(["T1", "T2", "FLAIR"])
    ('T1', 'T1, T2 and FLAIR')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
