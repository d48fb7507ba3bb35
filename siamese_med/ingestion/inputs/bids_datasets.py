"""Which BIDS data set below an input a file belongs to: equal labels of two data sets are two people.

A data set is the folder with the nearest dataset_description.json. Its `derivatives` are of the same people, and so is
the only described folder in its `rawdata` or `sourcedata`. What lies below no description is taken for one data set,
unless one label comes in two places of it: then nobody can tell one person from two, and neither is taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

DERIVATIVES_FOLDER = "derivatives"
RAW_DATA_FOLDERS = ("rawdata", "sourcedata")
"""Folders in which projects keep the raw data set itself, beside the derivatives."""


@dataclass(eq=False)
class BidsDataset:
    """One data set; `space` is what its labels are told apart by from those of others, empty for the usual only one."""

    folder: PurePath  # below the input
    name: str = ""
    described: bool = False
    space: str = ""
    known: bool = False  # did an earlier run give it its space?
    subjects: set[str] = field(default_factory=set)  # labels of its images

    def kind(self, word: str) -> str:
        """The name space of a label or of a place: `bids` or `name`, and the data set where there are several."""
        return f"{word} {self.space}" if self.space else word


class BidsDatasets:
    """The data sets of one input; folders are relative to it."""

    def __init__(self, names: Mapping[PurePath, str]) -> None:
        """`names`: the Name of each folder that has a dataset_description.json."""
        self.undescribed = BidsDataset(PurePath())
        self._described = {folder: BidsDataset(folder, name, True) for folder, name in names.items()}
        self._projects, self._parts = _projects(self._described)
        self._places: dict[str, set[PurePath]] = defaultdict(set)

    @property
    def all(self) -> list[BidsDataset]:
        """Every data set, in the order of its folder; last what no description speaks of."""
        return [*(self._described[folder] for folder in sorted(self._described)), self.undescribed]

    def of(self, folder: PurePath) -> BidsDataset:
        """The data set of a folder."""
        parts = folder.parts
        if DERIVATIVES_FOLDER in parts:
            return self.of(PurePath(*parts[: parts.index(DERIVATIVES_FOLDER)]))
        nearest = next((one for one in (folder, *folder.parents) if one in self._described), None)
        if nearest is None:
            nearest = self._projects.get(_without_raw_part(find_label_root(folder)))
        return self._described[self._parts.get(nearest, nearest)] if nearest is not None else self.undescribed

    def note(self, folder: PurePath, data_set: BidsDataset, subject: str) -> None:
        """Note an image of a subject in a folder of a data set."""
        data_set.subjects.add(subject)
        if data_set is self.undescribed:
            self._places[subject].add(_without_raw_part(find_label_root(folder)))

    def is_unclear(self, data_set: BidsDataset, subject: str) -> bool:
        """Whether a label without a description comes in places that may be different data sets."""
        return data_set is self.undescribed and len(self._places[subject]) > 1


def find_label_root(folder: PurePath) -> PurePath:
    """The folder above the outermost `sub-` or `ses-` folder; the folder itself where there is none."""
    parts = folder.parts
    end = next((place for place, part in enumerate(parts) if part.startswith(("sub-", "ses-"))), len(parts))
    return PurePath(*parts[:end])


def _without_raw_part(folder: PurePath) -> PurePath:
    return folder.parent if folder.name in RAW_DATA_FOLDERS else folder


def _projects(described: Collection[PurePath]) -> tuple[dict[PurePath, PurePath], dict[PurePath, PurePath]]:
    """Which described folder stands for a project, by the project's folder and by that of its raw part."""
    found: dict[tuple[PurePath, str], list[PurePath]] = defaultdict(list)
    for folder in sorted(described):
        part = next((one for one in (folder, *folder.parents) if one.name in RAW_DATA_FOLDERS), None)
        if part is not None and DERIVATIVES_FOLDER not in folder.parts:
            found[part.parent, part.name].append(folder)
    projects: dict[PurePath, PurePath] = {}
    parts: dict[PurePath, PurePath] = {}
    for (project, _), folders in sorted(found.items()):
        if len(folders) == 1:  # several are data sets of their own
            stands = projects.setdefault(project, project if project in described else folders[0])
            parts[folders[0]] = stands
    return projects, parts


def share_subject_labels(one: BidsDataset, others: Iterable[BidsDataset]) -> bool:
    """Whether a label of a data set is one of others in the same name space."""
    return any(one.space == other.space and one.subjects & other.subjects for other in others)
