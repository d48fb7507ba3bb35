"""Sources of a scan's contrast: what is said of it, its header, its name; and the choice of the one that counts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from siamese_med.ingestion import contrast, series_contrast
from siamese_med.ingestion.tracers import TRACERS
from siamese_med.study.vocabulary import UNKNOWN, ContrastSource

FIRST_CT_PATTERN = re.compile(r"(?<![a-z0-9])ct1(?![a-z0-9])", re.I)
"""`CT1`: enhanced T1 as RANO calls it, beside T1 and T2; else it may be somebody's first CT."""


@dataclass(frozen=True)
class ContrastFinding:
    """The contrast of a scan, how it is known, and how surely.

    Parameters
    ----------
    contrast
        A word of `contrast.CONTRASTS`.
    source
        What told it.
    confidence
        0 to 1 where the image told it, else None: names and headers give no figure.
    """

    contrast: str = UNKNOWN
    source: ContrastSource = ContrastSource.NONE
    confidence: float | None = None


ENHANCED_BY_PLAIN = {"T1w": contrast.ENHANCED_T1, "CT": contrast.ENHANCED_CT}
"""Contrasts that become others by an agent."""

COMPLETED_BY: dict[str, tuple[str, ...]] = {
    **{plain: (one,) for plain, one in ENHANCED_BY_PLAIN.items()},
    "PET": (*TRACERS,),
}
"""What another source may add to a contrast: an agent, or the tracer."""

NO_CONTRAST = ContrastFinding()
"""Nothing tells the contrast."""


def choose_contrast(*told: ContrastFinding) -> ContrastFinding:
    """Choose among what different sources tell of one scan.

    Returns
    -------
    ContrastFinding
        The first that knows the contrast. If that is T1w, CT or PET, one that knows of a contrast agent or a tracer
        completes it, since such a word often leaves it out.

    Examples
    --------
    >>> name = ContrastFinding("T1w", ContrastSource.NAME)
    >>> choose_contrast(name, ContrastFinding("T1wCE", ContrastSource.HEADER)).source
    <ContrastSource.HEADER: 'header'>
    """
    known = [one for one in told if one.contrast != UNKNOWN]
    first = known[0] if known else NO_CONTRAST
    wanted = COMPLETED_BY.get(first.contrast, ())
    return next((one for one in known if one.contrast in wanted), first)


def find_nifti_contrast(
    path: Path,
    stem: str,
    header: ContrastFinding,
    agent: bool,
    times_ms: series_contrast.Times = (None, None, None),
    sequence: str = "",
) -> ContrastFinding:
    """Find the contrast of a NIfTI file without reading its voxels.

    The file's name comes first, since it is what its owner calls it; then the JSON beside it, then the folders. A name
    that the timing in the JSON excludes does not count. The header of the NIfTI itself is not asked: its only free
    text, `descrip`, holds names of programs.

    Parameters
    ----------
    path, stem
        The file, and its name without endings.
    header
        What the JSON beside it tells.
    agent
        Whether that names a contrast agent.
    times_ms, sequence
        Timing and sequence that it tells, see `series_contrast.weigh_word_against_timing`.
    """
    named, folders = (_weigh(told, times_ms, sequence) for told in (_told_by_name(stem, path), _told_by_folders(path)))
    enhanced = ENHANCED_BY_PLAIN.get(named.contrast)
    if enhanced and contrast.is_plain_name(stem):
        return named
    if enhanced and agent:
        return ContrastFinding(enhanced, ContrastSource.HEADER)
    return choose_contrast(named, header, folders)


def find_dicom_contrast(header: str, path: Path, said: str = "") -> ContrastFinding:
    """Find the contrast of a DICOM series: from its header, or else the name and the folders of its first file.

    Parameters
    ----------
    header
        What the header tells, see `contrast.classify_series_contrast`.
    path
        The first file of the series.
    said
        What a manifest says, which counts before all others; empty for nothing.
    """
    if said:
        return ContrastFinding(said, ContrastSource.SAID)
    by_header = ContrastFinding(header, ContrastSource.HEADER) if header != UNKNOWN else NO_CONTRAST
    named = (_told_by_name(path.stem, path), _told_by_folders(path))  # CT and PET are known by the modality alone
    return choose_contrast(
        by_header, *(one for one in named if determine_modality_of_contrast(one.contrast) in ("MR", UNKNOWN))
    )


def _weigh(told: ContrastFinding, times_ms: series_contrast.Times, sequence: str) -> ContrastFinding:
    word = series_contrast.weigh_word_against_timing(told.contrast, times_ms, sequence)
    if word == told.contrast:
        return told
    return ContrastFinding(word, ContrastSource.HEADER) if word != UNKNOWN else NO_CONTRAST


def _told_by_name(stem: str, path: Path) -> ContrastFinding:
    if FIRST_CT_PATTERN.search(stem) and not _stands_beside_mr(path):
        return NO_CONTRAST
    found = contrast.guess_contrast_from_name(stem)
    return ContrastFinding(found, ContrastSource.NAME) if found != UNKNOWN else NO_CONTRAST


def _stands_beside_mr(path: Path) -> bool:
    """Tell whether T1 or T2 lies beside a file with CT1 in its name, under the same name otherwise."""
    name = path.name
    return any(
        path.with_name(f"{name[: found.start()]}{word}{name[found.end() :]}").is_file()
        for found in FIRST_CT_PATTERN.finditer(name)
        for word in ("T1", "T2", "FLAIR", "t1", "t2", "flair")
    )


def _told_by_folders(path: Path) -> ContrastFinding:
    found = contrast.guess_contrast_from_folders(path.absolute().parts[:-1])
    return ContrastFinding(found, ContrastSource.NAME) if found != UNKNOWN else NO_CONTRAST


def determine_modality_of_contrast(word: str) -> str:
    """Return the DICOM modality that a contrast belongs to: CT, PT, MR, or `unknown`.

    Examples
    --------
    >>> determine_modality_of_contrast("T1wCE"), determine_modality_of_contrast("PET")
    ('MR', 'PT')
    """
    if word in TRACERS:
        return "PT"
    return {"CT": "CT", contrast.ENHANCED_CT: "CT", "PET": "PT", UNKNOWN: UNKNOWN}.get(word, "MR")
