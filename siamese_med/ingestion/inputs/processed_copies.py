"""Images that a program made of a scan in the same folder, by their names: SPM's `wT1`, FSL's `T1_brain`, and the like.

A name alone is no proof, since some data sets hold nothing else than extracted brains. So an image is only called a
copy where the scan that it was made of lies beside it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePath

from siamese_med.ingestion import contrast

SPM_PREFIXES = (
    "y_", "iy_", "w", "wm", "wr", "wmr", "m", "mw", "mr", "r", "rr", "rm", "u", "sw", "swr", "smw",
    *(f"{before}{kind}{number}" for before in ("", "r", "w", "m", "mw", "smw") for kind in "cp" for number in range(7)),
)  # fmt: skip
"""Prefixes of SPM and CAT before the name of a scan: warped, resliced, bias-corrected, tissue classes, deformations."""

ENDING_PATTERN = re.compile(
    r"([_.-]("
    r"brain|bet\d?|ss|skull[_-]?strip\w*|stripp?ed|extracted|masked|n4\w*|bfc|bias[_-]?corr\w*|unbiased|restored?|"
    r"corrected|norm(ali[sz]ed)?|reg(istered|\d?(to|2)\w*)?|coreg\w*|(inverse)?warped|"
    r"(lin|nonlin)?(to|2|in|on)?[_-]?(mni|std|standard)\w*|"
    r"to[_-]\w+|resampled?|resliced?|resized?|denoised|smooth\w*|defaced?|deface|roi|crop(ped)?(_\d+)?|eq_\d+|tilt_\d+|"
    r"pve(seg)?(_\d)?|seg\w*|mask\w*|mixeltype|prob\w*|aligned|avg|mean|pre-?proc(essed)?|"
    r"fast[_-]\w+|flirt|fnirt|bias(field)?|hd-?bet|synth-?(strip|seg|sr)|robustfov|conform(ed)?|reorient(ed)?|[rl][ap][si]|"
    r"\d(\.\d+)?mm|z-?scored?|rescaled|padded|flipped|filtered|affine|rigid|elastix|ants|itk"
    r"))+$",
    re.I,
)
"""Pattern of endings that FSL, ANTs, dcm2niix (cropped, evened out, untilted) and people add to a scan's name."""

MARK_PATTERN = re.compile(
    r"(^|[_.-])(lesions?|wmh|tumou?r|aparc\W?aseg|aseg|segmentation|heatmap|probmap|labels?|rois?|vois?|parc\w*|"
    r"atlas)$",
    re.I,
)
"""Last words of names of maps of lesions or tissues, which may hold more than two values."""

PIPELINE_FOLDER_PATTERN = re.compile(
    r"([fs]mriprep|freesurfer|fastsurfer|mriqc|qsiprep|aslprep|xcp[_-]?d|cat12|spm\d*|fsl|ants|nipype|samseg|synthseg|"
    r"pre-?proc(ess(ed|ing))?|processed|derived|outputs?|results?|normali[sz]ed|registered|coregistered|segmentations?)"
    r"([_.-].*)?",
    re.I,
)
"""Folders of programs' results beside raw images, in trees that no dataset_description.json describes."""

LABEL_FOLDER_PATTERN = re.compile(
    r"(labels?|masks?|segmentations?|segs?|annotations?|contours?|rois?|ground[ _-]?truths?|gts?|lesions?)"
    r"([ _-]?(tr|ts|val|train\w*|test\w*|\d+|manual|masks?|labels?|lesions?))?|(manual|lesion|expert)[ _-]?"
    r"(labels?|masks?|segmentations?|segs?|annotations?)",
    re.I,
)
"""Folders of maps of labels, which are called as their images are: nnU-Net's `labelsTr`, and what people write."""

GROUP_FOLDER_PATTERN = re.compile(
    r"(healthy|normal)?[ _-]?(controls?|ctrls?|ctls?|volunteers?)|healthy|hcs?|normals?|non?[ _-]?lesion\w*|sham", re.I
)
"""Folders of groups of people."""

CHANNEL_PATTERN = re.compile(r"_\d{4}$")
"""nnU-Net's number of the contrast behind the name of an image, which its labels lack."""

MAX_PARTS = 16
"""Folders of labels are looked for in paths of so many parts at most: hostile trees are nested a thousand deep."""

MIN_COPIES = 2
"""Copies of a scan from which on a letter before a name that names no image is taken for the prefix of a program."""

PROGRAM_FOLDER_PATTERN = re.compile(r".+\.(anat|feat|g?ica|sienax?|bedpostx|probtrackx)", re.I)
"""Folders that FSL's programs make for their results."""


def find_processed_copies(stems: Collection[str], above: Collection[str] = ()) -> dict[str, str]:
    """Find the images of one folder that were made of others in it.

    Parameters
    ----------
    stems
        Names of the images without endings.
    above
        Those of the folder above: CAT12 writes into `mri` what it makes of the scan above it.

    Returns
    -------
    dict
        The reason word, `derivative` or `non_image`, by name.

    Examples
    --------
    >>> find_processed_copies(["T1", "T1_brain", "wT1", "T1_post", "FLAIR", "lesion"])
    {'T1_brain': 'derivative', 'wT1': 'derivative', 'lesion': 'non_image'}
    >>> find_processed_copies(["T1_brain", "FLAIR_brain"]), find_processed_copies(["mwp1T1"], above=["T1"])
    ({}, {'mwp1T1': 'derivative'})
    """
    known = {*stems, *above}
    origins = {stem: known.intersection(_list_origins(stem)) for stem in stems}
    copies = Counter(origin for found in origins.values() for origin in found)
    found = {
        stem: "derivative"
        for stem in stems
        if any(copies[origin] >= MIN_COPIES or _names_image(origin) for origin in origins[stem])
    }
    rest = [stem for stem in stems if stem not in found]
    marks = [stem for stem in rest if MARK_PATTERN.search(stem)]
    return found | (dict.fromkeys(marks, "non_image") if len(marks) < len(rest) else {})


def find_pipeline_results(images: Iterable[tuple[PurePath, str]]) -> set[PurePath]:
    """Find the images of a subject that lie in a folder of a program's results, where the raw ones lie beside it.

    Parameters
    ----------
    images
        Paths below the input, each with the label of its subject.

    Examples
    --------
    >>> places = ["sub-1/T1w.nii", "fmriprep/sub-1/T1w.nii", "results/sub-2/T1w.nii"]
    >>> found = find_pipeline_results((PurePath(one), one.split("sub-")[1][0]) for one in places)
    >>> [one.as_posix() for one in found]
    ['fmriprep/sub-1/T1w.nii']
    """
    inside: list[tuple[PurePath, str, PurePath]] = []
    raw: set[tuple[PurePath, str]] = set()
    for path, subject in images:
        named = [n for n, folder in enumerate(path.parts[:-1]) if PIPELINE_FOLDER_PATTERN.fullmatch(folder)]
        if named:
            inside.append((path, subject, PurePath(*path.parts[: named[0]])))
        else:
            raw |= {(folder, subject) for folder in path.parents}
    return {path for path, subject, project in inside if (project, subject) in raw}


def find_label_maps(images: Mapping[PurePath, str]) -> set[PurePath]:
    """Find the images in a folder of labels that are called, with their folders in it, as an image beside it is.

    A folder `lesion` beside one that is called by a group of people, such as `control`, is a group too.

    Parameters
    ----------
    images
        Paths below the input, each with its name without endings.

    Examples
    --------
    >>> places = ["imagesTr/p1_0000.nii", "labelsTr/p1.nii", "labelsTr/p9.nii"]
    >>> [one.as_posix() for one in find_label_maps({PurePath(one): one.split("/")[1][:-4] for one in places})]
    ['labelsTr/p1.nii']
    """
    inside: list[tuple[PurePath, PurePath, PurePath]] = []
    known: set[tuple[PurePath, PurePath]] = set()
    for path, stem in images.items():
        if len(path.parts) > MAX_PARTS:
            continue
        named = [n for n, folder in enumerate(path.parts[:-1]) if LABEL_FOLDER_PATTERN.fullmatch(folder)]
        if named:
            below = PurePath(*path.parts[named[0] + 1 : -1], stem)
            inside.append((path, below, PurePath(*path.parts[: named[0]])))
            continue
        for above in path.parents:
            folders = path.parts[len(above.parts) : -1]
            if folders and GROUP_FOLDER_PATTERN.fullmatch(folders[0]):
                continue
            for name in (stem, CHANNEL_PATTERN.sub("", stem)):
                known |= {(above, PurePath(*folders[n:], name)) for n in range(len(folders) + 1)}
    return {path for path, below, project in inside if (project, below) in known}


def _names_image(stem: str) -> bool:
    """Whether a name is more than a number or the like: `s01` may be a patient, beside another who is `ms01`."""
    return any(contrast.is_image_word(word) for word in re.split(r"[\s_.+-]+", stem.casefold()))


def _list_origins(stem: str) -> Iterable[str]:
    """List the names that the scan may have of which this is a copy."""
    ending = ENDING_PATTERN.search(stem)
    whole = [stem, stem[: ending.start()]] if ending and ending.start() else [stem]
    yield from whole[1:]
    for one in whole:
        yield from (one.removeprefix(prefix) for prefix in SPM_PREFIXES if one.startswith(prefix))
