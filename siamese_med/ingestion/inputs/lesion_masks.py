"""Masks of lesions in BIDS datasets: `*_label-lesion_mask.nii.gz` in the derivatives, or beside the scans.

A mask belongs to the scans of its subject and session whose names have all of its other entities. Where these are
several, it is stored with those on whose grid it lies, and the others are none the worse for it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.ingestion.inputs import bids_metadata

if TYPE_CHECKING:
    from siamese_med.ingestion.inputs.claims import InputPath

LESION_ENTITY_PATTERN = re.compile(r"(label|desc)-lesions?", re.IGNORECASE)
"""The entity that says that a mask marks lesions (BIDS specification, "Derivatives: masks and segmentations")."""
MASK_SUFFIXES = frozenset({"mask", "dseg", "roi"})
"""Suffixes of such masks, as BIDS defines them, and as data sets of before have them."""
OWN_ENTITIES = frozenset({"label", "desc", "seg", "res", "den", "atlas", "space", "sub", "ses"})
"""Entities that a mask may have and its scan not."""
OWN_SPACES = frozenset({"orig", "individual", "native"})
"""Values of `space` that mean the scan itself."""


def is_lesion_mask(stem: str) -> bool:
    """Tell whether a file name (without endings) is that of a mask of lesions on the grid of a scan.

    Examples
    --------
    >>> is_lesion_mask("sub-01_ses-1_label-lesion_mask"), is_lesion_mask("sub-01_space-MNI152_label-lesion_mask")
    (True, False)
    """
    *tokens, suffix = stem.split("_")
    spaces = [token.partition("-")[2] for token in tokens if token.startswith("space-")]
    return (
        suffix.lower() in MASK_SUFFIXES
        and any(LESION_ENTITY_PATTERN.fullmatch(token) for token in tokens)
        and all(_is_own_space(space) for space in spaces)
    )


def assign_lesion_masks(found: Iterable[InputPath]) -> None:
    """Give every scan with BIDS labels the mask of lesions that is meant for it, if there is exactly one.

    The paths of masks are those with the reason `lesion_mask`. One that no scan gets has another reason then, and a
    scan that several fit is marked by `several_masks`.
    """
    masks: dict[tuple[object, str, str], list[InputPath]] = defaultdict(list)
    scans: list[InputPath] = []
    for one in found:
        if one.labels.subject and one.reason == "lesion_mask":
            masks[_group(one)].append(one)
        elif one.labels.subject and not one.reason:
            scans.append(one)
    for scan in scans:
        mine = [mask.path for mask in masks.get(_group(scan), []) if _belongs(mask.path, scan.path)]
        scan.lesions = mine[0] if len(mine) == 1 else None
        scan.several_masks = len(mine) > 1
    used = {scan.lesions for scan in scans}
    for mask in (one for some in masks.values() for one in some):
        mask.reason = "lesion_mask" if mask.path in used else "mask_without_scan"


def _group(one: InputPath) -> tuple[object, str, str]:
    return id(one.data_set), one.labels.subject, one.labels.session


def _belongs(mask: Path, scan: Path) -> bool:
    """Whether the scan's name has every entity of the mask, but for those that only a mask has."""
    *tokens, _ = bids_metadata.get_image_stem(mask).split("_")
    *there, suffix = bids_metadata.get_image_stem(scan).split("_")
    spaces = [token.partition("-")[2] for token in tokens if token.startswith("space-")]
    named = {token for token in tokens if token.partition("-")[0] not in OWN_ENTITIES}
    named.discard(suffix)  # sub-01_FLAIR_label-lesion_mask, as some programs call it
    return named <= set(there) and all(
        space.lower() in OWN_SPACES or space.lower() == suffix.lower() for space in spaces
    )


def _is_own_space(space: str) -> bool:
    """Whether it may be the space of a scan: not that of a template, whose name has digits, such as MNI152."""
    return space.lower() in OWN_SPACES or space.isalpha() or bool(re.fullmatch(r"T[12]\w*", space))
