"""Assignment of files below an input to BIDS datasets: equal labels in two datasets are two patients.

A dataset is the folder with the nearest dataset_description.json. Its `derivatives` belong to the same patients, and so
does the only described folder in its `rawdata` or `sourcedata`. Files below no description are taken as one dataset,
unless one label occurs at two places: then two patients cannot be told apart, and neither is ingested.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

DERIVATIVES_FOLDER = "derivatives"
"""Folder of a BIDS dataset for processed data (BIDS specification, "Storage of derived datasets")."""

RAW_DATA_FOLDERS = ("rawdata", "sourcedata")
"""Folders in which projects keep the raw dataset itself, beside the derivatives."""


@dataclass(eq=False)
class BidsDataset:
    """One dataset of an input.

    `space` is the name space that tells its labels from those of other datasets; it is empty for the usual only
    dataset.
    """

    folder: PurePath  # below the input
    name: str = ""
    described: bool = False
    space: str = ""
    known: bool = False  # whether an earlier run gave it its name space
    subjects: set[str] = field(default_factory=set)  # labels of its images

    def kind(self, word: str) -> str:
        """Return the name space of a label or of a file's place.

        Parameters
        ----------
        word
            `bids` for a label, `name` for a place.

        Returns
        -------
        str
            The word, followed by the dataset's own name space where the input holds several datasets.

        Examples
        --------
        >>> BidsDataset(PurePath("study"), space="Aging study").kind("bids")
        'bids Aging study'
        """
        return f"{word} {self.space}" if self.space else word


class BidsDatasets:
    """The datasets of one input. All folders are relative to the input.

    Examples
    --------
    >>> datasets = BidsDatasets({PurePath("one"): "Study one", PurePath("two"): "Study two"})
    >>> datasets.of(PurePath("two/derivatives/fmriprep/sub-01")).name
    'Study two'
    """

    def __init__(self, names: Mapping[PurePath, str]) -> None:
        """Take the Name of each folder that has a dataset_description.json."""
        self.undescribed = BidsDataset(PurePath())
        self._described = {folder: BidsDataset(folder, name, True) for folder, name in names.items()}
        self._projects, self._parts = _projects(self._described)
        self._places: dict[str, set[PurePath]] = defaultdict(set)

    @property
    def all(self) -> list[BidsDataset]:
        """Every dataset in the order of the folders.

        The last one is `undescribed`, which has the files without a description.
        """
        return [*(self._described[folder] for folder in sorted(self._described)), self.undescribed]

    def of(self, folder: PurePath) -> BidsDataset:
        """Return the dataset that a folder belongs to.

        A folder below `derivatives` belongs to the dataset above it. A folder without a description above it belongs to
        the dataset of its project, or else to `undescribed`.
        """
        parts = folder.parts
        if DERIVATIVES_FOLDER in parts:
            return self.of(PurePath(*parts[: parts.index(DERIVATIVES_FOLDER)]))
        nearest = next((one for one in (folder, *folder.parents) if one in self._described), None)
        if nearest is None:
            nearest = self._projects.get(_without_raw_part(find_label_root(folder)))
        return self._described[self._parts.get(nearest, nearest)] if nearest is not None else self.undescribed

    def note(self, folder: PurePath, data_set: BidsDataset, subject: str) -> None:
        """Record that a dataset has an image of a subject in a folder.

        Call it for all images first; `is_unclear` and `share_subject_labels` use what was recorded.
        """
        data_set.subjects.add(subject)
        if data_set is self.undescribed:
            self._places[subject].add(_without_raw_part(find_label_root(folder)))

    def is_unclear(self, data_set: BidsDataset, subject: str) -> bool:
        """Tell whether a label without a description occurs at places that may be different datasets.

        True where `note` recorded the subject below two or more folders of `undescribed`.
        """
        return data_set is self.undescribed and len(self._places[subject]) > 1


def find_label_root(folder: PurePath) -> PurePath:
    """Return the folder above the outermost `sub-` or `ses-` folder, or the folder itself where there is none.

    Examples
    --------
    >>> find_label_root(PurePath("study/sub-01/ses-2/anat")).as_posix()
    'study'
    """
    parts = folder.parts
    end = next((place for place, part in enumerate(parts) if part.startswith(("sub-", "ses-"))), len(parts))
    return PurePath(*parts[:end])


def _without_raw_part(folder: PurePath) -> PurePath:
    return folder.parent if folder.name in RAW_DATA_FOLDERS else folder


def _projects(described: Collection[PurePath]) -> tuple[dict[PurePath, PurePath], dict[PurePath, PurePath]]:
    """Find the described folder that represents each project, by the project's folder, and the projects' raw parts."""
    found: dict[tuple[PurePath, str], list[PurePath]] = defaultdict(list)
    for folder in sorted(described):
        part = next((one for one in (folder, *folder.parents) if one.name in RAW_DATA_FOLDERS), None)
        if part is not None and DERIVATIVES_FOLDER not in folder.parts:
            found[part.parent, part.name].append(folder)
    projects: dict[PurePath, PurePath] = {}
    parts: dict[PurePath, PurePath] = {}
    for (project, _), folders in sorted(found.items()):
        if len(folders) == 1:  # several are datasets of their own
            stands = projects.setdefault(project, project if project in described else folders[0])
            parts[folders[0]] = stands
    return projects, parts


def share_subject_labels(one: BidsDataset, others: Iterable[BidsDataset]) -> bool:
    """Tell whether a dataset has a subject label that another dataset of the same name space has too."""
    return any(one.space == other.space and one.subjects & other.subjects for other in others)
