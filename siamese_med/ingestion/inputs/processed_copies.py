"""Images that a program made of a scan in the same folder, by their names: SPM's `wT1`, FSL's `T1_brain`, and the like.

A name alone is no proof, since some data sets hold nothing else than extracted brains. So an image is only called a
copy where the scan that it was made of lies beside it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

SPM_PREFIXES = (
    "y_", "iy_", "w", "wm", "wr", "wmr", "m", "mw", "mr", "r", "rr", "rm", "u", "sw", "swr", "smw",
    *(f"{before}{kind}{number}" for before in ("", "r", "w", "m", "mw", "smw") for kind in "cp" for number in range(7)),
)  # fmt: skip
"""What SPM and CAT write before the name of a scan: warped, resliced, bias-corrected, tissue classes, deformations."""

ENDING_PATTERN = re.compile(
    r"([_.-]("
    r"brain|bet\d?|ss|skull[_-]?strip\w*|stripp?ed|extracted|masked|n4\w*|bfc|bias[_-]?corr\w*|unbiased|restored?|"
    r"corrected|norm(ali[sz]ed)?|reg(istered)?|coreg\w*|warped|(lin|nonlin)?(to|2|in|on)?[_-]?(mni|std|standard)\w*|"
    r"to[_-]\w+|resampled?|resliced?|resized?|denoised|smooth\w*|defaced?|deface|roi|crop(ped)?(_\d+)?|eq_\d+|tilt_\d+|"
    r"pve(seg)?(_\d)?|seg\w*|mask\w*|mixeltype|prob\w*|aligned|avg|mean|pre-?proc(essed)?"
    r"))+$",
    re.I,
)
"""What FSL, ANTs, dcm2niix (cropped, evened out, untilted) and people write behind the name of a scan."""

MARK_PATTERN = re.compile(
    r"(^|[_.-])(lesions?|wmh|tumou?r|aparc\W?aseg|aseg|segmentation|heatmap|probmap|labels?)$", re.I
)
"""Last words of names of maps of lesions or tissues, which may hold more than two values."""

PROGRAM_FOLDER_PATTERN = re.compile(r".+\.(anat|feat|g?ica|sienax?|bedpostx|probtrackx)", re.I)
"""Folders that FSL's programs make for their results."""


def find_processed_copies(stems: Collection[str]) -> dict[str, str]:
    """Find the images of one folder that were made of others in it.

    Parameters
    ----------
    stems
        Names of the images without endings.

    Returns
    -------
    dict
        The reason word, `derivative` or `non_image`, by name.

    Examples
    --------
    >>> find_processed_copies(["T1", "T1_brain", "wT1", "T1_post", "FLAIR", "lesion"])
    {'T1_brain': 'derivative', 'wT1': 'derivative', 'lesion': 'non_image'}
    >>> find_processed_copies(["T1_brain", "FLAIR_brain"])
    {}
    """
    known = set(stems)
    found = {stem: "derivative" for stem in stems if not known.isdisjoint(_list_origins(stem))}
    rest = [stem for stem in stems if stem not in found]
    marks = [stem for stem in rest if MARK_PATTERN.search(stem)]
    return found | (dict.fromkeys(marks, "non_image") if len(marks) < len(rest) else {})


def _list_origins(stem: str) -> Iterable[str]:
    """List the names that the scan may have of which this is a copy."""
    ending = ENDING_PATTERN.search(stem)
    whole = [stem, stem[: ending.start()]] if ending and ending.start() else [stem]
    yield from whole[1:]
    for one in whole:
        yield from (one.removeprefix(prefix) for prefix in SPM_PREFIXES if one.startswith(prefix))
