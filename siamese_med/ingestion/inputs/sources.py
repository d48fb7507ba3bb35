"""Files that an input (a folder, a BIDS dataset, a manifest or one file) names, and its statements about them."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from siamese_med.errors import EmptyInputError, MissingFileError
from siamese_med.ingestion import contrast
from siamese_med.ingestion.inputs import bids_metadata, dated_folders, folder_walk
from siamese_med.ingestion.inputs.bids_datasets import DERIVATIVES_FOLDER, BidsDataset, BidsDatasets
from siamese_med.ingestion.inputs.bids_labels import is_derivative_name, read_bids_labels
from siamese_med.ingestion.inputs.bids_metadata import NIFTI_ENDINGS
from siamese_med.ingestion.inputs.bids_tables import BidsTree
from siamese_med.ingestion.inputs.claims import NO_LABELS, InputClaim, InputPath, claim_by_name, claim_by_place
from siamese_med.ingestion.inputs.folder_walk import WalkedPath
from siamese_med.ingestion.inputs.lesion_masks import assign_lesion_masks, is_lesion_mask
from siamese_med.ingestion.inputs.manifest import read_manifest
from siamese_med.ingestion.inputs.processed_copies import (
    PROGRAM_FOLDER_PATTERN,
    find_label_maps,
    find_pipeline_results,
    find_processed_copies,
)

REPOSITORY_FOLDERS = (".git", ".datalad")
"""Folders in which git, git-annex and DataLad keep their own files."""


def collect_input_paths(source: Path, own: Sequence[Path] = ()) -> list[InputPath]:
    """List all files of an input in a fixed order.

    Parameters
    ----------
    source
        A folder (BIDS or not), a CSV or TSV manifest, or a single image file.
    own
        Folders that the study writes to. Below `source`, they are counted and not entered.

    Raises
    ------
    MissingFileError
        The input does not exist or cannot be opened.
    EmptyInputError
        It holds no file.
    ManifestError
        The manifest is not usable; the message names the row.
    """
    try:
        root = folder_walk.check_input_path(source)
    except FileNotFoundError:
        root = WalkedPath(str(source), "broken_link")
    if root.reason:
        raise MissingFileError(f"no input at {source}: name a folder or a CSV manifest")
    if source.is_dir():
        found = _folder(source.absolute(), own)
    elif source.suffix.lower() in (".csv", ".tsv") and source.is_file():
        found = read_manifest(source)
    else:
        found = [make_plain_input_path(source, source.parent)]
    if not found:
        raise EmptyInputError(f"{source} holds no file: name a folder with DICOM or NIfTI files, or a CSV manifest")
    return found


def list_files_below(folder: Path) -> list[Path]:
    """List every file below a folder that may be opened.

    Links to folders are followed once, see `folder_walk.walk_folder`. Paths are sorted by their parts; pipes, broken
    links and the like are left out.
    """
    return [Path(one.path) for one in folder_walk.walk_folder(folder) if not one.reason]


def make_natural_sort_key(label: str) -> tuple[tuple[int, int, str], ...]:
    """Make a sort key that puts 2 before 10.

    Examples
    --------
    >>> sorted(["visit10", "visit2", "visit1"], key=make_natural_sort_key)
    ['visit1', 'visit2', 'visit10']
    """
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", label) if part)


@dataclass(frozen=True)
class _FolderContext:
    """Facts that all files of one folder share.

    The folders that may have labels, the dataset, and the functions that make the claims of images and of other files.
    """

    folders: tuple[str, ...]
    data_set: BidsDataset
    make_claim: Callable[[InputPath], InputClaim]
    make_place_claim: Callable[[InputPath], InputClaim]
    at_root: bool
    in_repository: bool
    labelled: bool
    derived: bool


def _folder(source: Path, own: Sequence[Path]) -> list[InputPath]:
    walked = folder_walk.walk_folder(source, own)
    described = [
        path.parent
        for one in walked
        if one.path.endswith(bids_metadata.DATASET_DESCRIPTION_FILE) and (path := _description(one))
    ]
    sets = BidsDatasets({root.relative_to(source): bids_metadata.read_dataset_name(root) for root in described})
    outermost = {root for root in described if set(described).isdisjoint(root.parents)}
    claim_makers = {root: partial(claim_by_name, root=root, tree=BidsTree(root)) for root in outermost}
    whole, make_place_claim = partial(claim_by_name, root=source), partial(claim_by_place, root=source)
    places: dict[str, _FolderContext] = {}
    found = []
    for one in walked:
        if one.path == str(source):  # it could not be listed; its folder is no part of the input
            found.append(InputPath(source, make_place_claim, one.reason))
            continue
        folder, _, name = one.path.rpartition(os.sep)
        folder = folder or os.sep  # the input may be the root of a container
        if folder not in places:
            above = (Path(folder), *Path(folder).parents)
            make_claim = next((claim_makers[root] for root in above if root in outermost), whole)
            places[folder] = _place(above[0].relative_to(source), sets, make_claim, make_place_claim)
        found.append(_in_folder(one, name, places[folder]))
    _refuse_copies(found)
    _refuse_pipeline_results(found, source)
    _refuse_label_maps(found, source)
    _refuse_unclear(found, source, sets)
    _read_dated_folders(found, source)
    _note_unclear_visits(found)
    assign_lesion_masks(found)
    return found


def _refuse_copies(found: Iterable[InputPath]) -> None:
    """Give images that were made of others in their folder the reason for which they are no scans."""
    by_folder: dict[Path, dict[str, list[InputPath]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        if not one.reason and one.path.name.lower().endswith(NIFTI_ENDINGS):
            by_folder[one.path.parent][bids_metadata.get_image_stem(one.path)].append(one)
    for folder, stems in list(by_folder.items()):
        above = by_folder.get(folder.parent, {})
        for stem, reason in find_processed_copies(stems, above).items():
            for one in stems[stem]:
                one.reason = reason


def _refuse_pipeline_results(found: Iterable[InputPath], source: Path) -> None:
    """Give images in the folder of a program's results, such as `fmriprep`, the reason for which they are no scans."""
    labelled: dict[PurePath, InputPath] = {
        one.path.relative_to(source): one
        for one in found
        if one.labels.subject and not one.reason and one.path.name.lower().endswith(NIFTI_ENDINGS)
    }
    for path in find_pipeline_results((path, one.labels.subject) for path, one in labelled.items()):
        labelled[path].reason = "derivative"


def _refuse_label_maps(found: Iterable[InputPath], source: Path) -> None:
    """Give images in a folder of labels that are called as an image beside it the reason for which they are none."""
    images: dict[PurePath, InputPath] = {
        one.path.relative_to(source): one
        for one in found
        if not one.reason and one.path.name.lower().endswith(NIFTI_ENDINGS)
    }
    for path in find_label_maps({path: bids_metadata.get_image_stem(one.path) for path, one in images.items()}):
        images[path].reason = "non_image"


def _read_dated_folders(found: list[InputPath], source: Path) -> None:
    """Give patient and date to NIfTI files without labels that lie in plain folders, see `dated_folders`."""
    unnamed = {
        one.path.relative_to(source): one
        for one in found
        if not one.reason and not one.labels.subject and one.path.name.lower().endswith(NIFTI_ENDINGS)
    }
    stems = {place: bids_metadata.get_image_stem(one.path) for place, one in unnamed.items()}
    for place, dated in dated_folders.read_dated_folders(stems).items():
        unnamed[place].dated = dated


def _note_unclear_visits(found: Iterable[InputPath]) -> None:
    """Note images of a subject that have one name in several folders, and no session: they may be of several visits."""
    alike: dict[tuple[object, str, str], list[InputPath]] = defaultdict(list)
    for one in found:
        labelled = one.labels.subject and not one.labels.session and not one.reason
        if labelled and one.path.name.lower().endswith(NIFTI_ENDINGS):
            alike[id(one.data_set), one.labels.subject, bids_metadata.get_image_stem(one.path)].append(one)
    for images in alike.values():
        for one in images if len({one.path.parent for one in images}) > 1 else ():
            one.visit_unclear = True


def _description(one: WalkedPath) -> Path | None:
    path = Path(one.path)
    return path if path.name == bids_metadata.DATASET_DESCRIPTION_FILE and not one.reason else None


def _place(
    folder: Path,
    sets: BidsDatasets,
    make_claim: Callable[[InputPath], InputClaim],
    make_place_claim: Callable[[InputPath], InputClaim],
) -> _FolderContext:
    data_set = sets.of(folder)
    inside = len(data_set.folder.parts)
    folders = folder.parts[inside:] if folder.parts[:inside] == data_set.folder.parts else folder.parts
    repository = not set(folder.parts).isdisjoint(REPOSITORY_FOLDERS)
    at_root, labelled = inside == len(folder.parts), any("sub-" in one for one in folders)
    derived = DERIVATIVES_FOLDER in folders or any(PROGRAM_FOLDER_PATTERN.fullmatch(one) for one in folders)
    return _FolderContext(folders, data_set, make_claim, make_place_claim, at_root, repository, labelled, derived)


def _in_folder(one: WalkedPath, name: str, place: _FolderContext) -> InputPath:
    """A path below an input folder, with its labels and with the reason for which it is no scan, if any."""
    path, data_set = Path(one.path), place.data_set
    if one.reason or one.unlisted or place.in_repository:  # the name of a folder says nothing of the files in it
        return InputPath(path, place.make_place_claim, one.reason or ("repository_file" if place.in_repository else ""))
    if bids_metadata.is_sidecar(path, name, data_set.described, place.at_root):
        return InputPath(path, place.make_place_claim, "side_car", data_set=data_set)
    stem = bids_metadata.get_image_stem(path)
    labels = read_bids_labels(place.folders, stem) if place.labelled or "sub-" in name else NO_LABELS
    reason = "non_image" if contrast.is_mask_name(stem) else labels.problem
    derived = place.derived or (bool(labels.subject) and is_derivative_name(stem))
    reason = "projection" if not reason and contrast.is_projection_name(stem) else reason
    reason = "derivative" if derived else reason
    if reason in ("derivative", "non_image") and path.name.lower().endswith(NIFTI_ENDINGS) and is_lesion_mask(stem):
        reason = "lesion_mask"
    return InputPath(path, place.make_claim, reason, labels=labels, data_set=data_set)


def _refuse_unclear(found: list[InputPath], source: Path, sets: BidsDatasets) -> None:
    """Record which dataset has images of which subject; refuse labels at places that may be two datasets."""
    labelled = [one for one in found if one.data_set and one.labels.subject and not one.reason]
    for one in labelled:
        if one.data_set and one.path.name.lower().endswith(NIFTI_ENDINGS):
            sets.note(one.path.parent.relative_to(source), one.data_set, one.labels.subject)
    for one in labelled:
        if one.data_set and sets.is_unclear(one.data_set, one.labels.subject):
            one.reason, one.labels = "unclear_dataset", NO_LABELS


def make_plain_input_path(path: Path, root: Path) -> InputPath:
    """Make the input path of a single file that no dataset and no manifest describes.

    Its labels come from its folders below `root` and its name. Side-cars and masks get a reason word.
    """
    if bids_metadata.is_sidecar(path, path.name, described=False, at_root=False):
        return InputPath(path, partial(claim_by_place, root=root), "side_car")
    labels = read_bids_labels(path.parent.relative_to(root).parts, bids_metadata.get_image_stem(path))
    reason = "non_image" if contrast.is_mask_name(bids_metadata.get_image_stem(path)) else labels.problem
    return InputPath(path, partial(claim_by_name, root=root), reason, labels=labels)
