"""Name spaces that tell equal labels in several BIDS datasets apart, the same way in every run.

The only dataset of an input keeps its labels as they are. Of several, each has a name space of its own: the Name in its
description, or its folder below the input where it has no name. The catalogue remembers the name spaces, encrypted, so
that a dataset that came first and alone keeps its pseudonyms when others are added later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from siamese_med.ingestion.catalogue.rows import META_TABLE
from siamese_med.ingestion.inputs.bids_datasets import BidsDataset, share_subject_labels
from siamese_med.ingestion.inputs.entries import InputEntry, compute_claim_key
from siamese_med.ingestion.run_state import IngestRun

DATASET_KEY_PREFIX = "data set "
"""Prefix of the keys of the catalogue's rows about datasets."""

SEALED_NAMESPACE_BYTES = 256
"""Bytes to which a name space is padded before encryption, so that its length does not reveal it."""

MAX_FILES_TO_COMPARE = 100
"""Files of a dataset, known from an earlier run, that are compared to find its name space."""


class _Marks(NamedTuple):
    """Keys of a dataset: by Name and folder, and by Name alone (empty where another dataset has the same Name)."""

    exact: str
    name: str


def assign_namespaces(run: IngestRun) -> None:
    """Give every dataset of the input its name space, and write it to the catalogue.

    Must run before any claim of the run is used, since claims contain the name space.
    """
    _note(run, *choose_namespaces(run))


def choose_namespaces(run: IngestRun) -> tuple[list[BidsDataset], dict[str, str]]:
    """Give every dataset of the input its name space; return the datasets, and the name spaces in the catalogue.

    A dataset keeps the name space of an earlier run: by Name and folder, by Name, or by files that still lie at the
    same place. A new dataset whose labels occur in another one gets a name space of its own.
    """
    sets = _with_subjects(run.entries)
    known = _known_spaces(run)
    if not (known or run.input_space) and len(sets) < 2:
        return sets, known
    written = {id(one): _written(run, one, sets, known) for one in sets}
    taken = [one for one in sets if written[id(one)] is not None]
    for one in taken:
        one.space, one.known = written[id(one)] or "", True
    others = [(one, _of_earlier_files(run, one, known)) for one in sets if one not in taken]
    for one, space in sorted(others, key=lambda pair: pair[1] is None):  # new datasets last
        one.space, one.known = (_new_space(run, one, sets, known), False) if space is None else (space, True)
        if share_subject_labels(one, taken):
            one.space = _own_space(run, one, alone=False)
        taken.append(one)
    return sets, known


def merge_dataset_copies(run: IngestRun) -> None:
    """Give a copy of a dataset the name space of the first one, so that its patients are not counted twice.

    A copy has the same Name and at least one identical image under the same label. Runs after the files were inspected;
    claims of the copy are discarded and worked out again.
    """
    sets = sorted((one for one in _with_subjects(run.entries) if one.name), key=lambda one: not one.known)
    for number, one in enumerate(sets):
        alike = [first for first in sets[:number] if first.name == one.name and first.space != one.space]
        first = next((first for first in alike if _images(run, one) & _images(run, first)), None)
        if first is not None and not one.known:
            one.space = first.space
            for entry in _entries(run, one):
                entry.found.forget_claim()
            _note(run, sets, _known_spaces(run))


def _with_subjects(entries: Iterable[InputEntry]) -> list[BidsDataset]:
    """Return the datasets with labelled images, in the order of their folders, the undescribed one last."""
    sets = {id(one): one for entry in entries if (one := entry.found.data_set) is not None and one.subjects}
    return sorted(sets.values(), key=lambda one: (not one.described, one.folder))


def _entries(run: IngestRun, data_set: BidsDataset) -> Iterable[InputEntry]:
    return (entry for entry in run.entries if entry.found.data_set is data_set and entry.found.labels.subject)


def _images(run: IngestRun, data_set: BidsDataset) -> set[tuple[str, str]]:
    """Return label and content of the dataset's NIfTI files, as far as they are known at this point."""
    found = set()
    for entry in _entries(run, data_set):
        if entry.unit is not None:
            found.add((entry.found.labels.subject, entry.unit[0]))
        elif entry.look is not None and entry.look.voxels:
            found.add((entry.found.labels.subject, entry.look.sha256))
    return found


def _marks(run: IngestRun, one: BidsDataset, sets: Iterable[BidsDataset]) -> _Marks:
    same = Counter(other.name for other in sets)
    by_name = (
        f"{DATASET_KEY_PREFIX}{run.secret.label('data set', one.name)}" if one.name and same[one.name] == 1 else ""
    )
    place = () if one.name or not run.input_space else (run.input_space,)  # only a Name means the same in every input
    exact = run.secret.label("data set", one.name, one.folder.as_posix(), *place)
    return _Marks(f"{DATASET_KEY_PREFIX}{exact}", by_name)


def _written(run: IngestRun, one: BidsDataset, sets: Iterable[BidsDataset], known: dict[str, str]) -> str | None:
    """Return the name space in the catalogue, by Name and folder, else by Name, or None."""
    return next((known[mark] for mark in _marks(run, one, sets) if mark in known), None)


def _of_earlier_files(run: IngestRun, one: BidsDataset, known: dict[str, str]) -> str | None:
    """Return the name space under which an earlier run ingested files that are still in place, or None."""
    candidates = sorted({"", *known.values(), *(_own_space(run, one, alone) for alone in (True, False))})
    seen = [entry for entry in _entries(run, one) if entry.key in run.paths and run.paths[entry.key].unit[1]]
    return next(
        (space for entry in seen[:MAX_FILES_TO_COMPARE] for space in candidates if _was_claimed(run, entry, space)),
        None,
    )


def _was_claimed(run: IngestRun, entry: InputEntry, space: str) -> bool:
    """Tell whether an earlier run ingested this file under its label and this name space."""
    claim = entry.found.claimed_in(space)
    return compute_claim_key(claim, run.secret) == run.paths[entry.key].unit[1]


def _new_space(run: IngestRun, one: BidsDataset, sets: list[BidsDataset], known: dict[str, str]) -> str:
    """Choose the name space of a new dataset: none, where its labels cannot be confused with others.

    A dataset without a Name then has the name space of its input, if that has one.
    """
    if not one.described or (len(sets) == 1 and not ((known or run.input_space) and one.name)):
        return ""
    alone = sum(other.name == one.name for other in sets) == 1 and one.name not in known.values()
    return _own_space(run, one, alone)


def _own_space(run: IngestRun, one: BidsDataset, alone: bool) -> str:
    """Make a name space from the Name, and from the folder too unless the dataset is `alone` under that Name."""
    if one.name and alone:
        return one.name
    place = f"{one.name} in {one.folder.as_posix()}".strip() if one.described else "without description"
    return place if one.name else f"{run.input_space} {place}".strip()


def _known_spaces(run: IngestRun) -> dict[str, str]:
    rows = {
        row["key"]: row["value"] for row in run.catalogue.rows(META_TABLE) if row["key"].startswith(DATASET_KEY_PREFIX)
    }
    return {mark: run.secret.unseal(value, mark).decode().rstrip("\0") for mark, value in rows.items()}


def _note(run: IngestRun, sets: list[BidsDataset], known: dict[str, str]) -> None:
    """Write the encrypted name spaces of datasets that have a Name, or a name space of their own."""
    spaces = {mark: one.space for one in sets if one.name or one.space for mark in _marks(run, one, sets) if mark}
    rows = [
        {
            "key": mark,
            "value": run.secret.seal(
                space.encode("utf-8", "surrogateescape").ljust(SEALED_NAMESPACE_BYTES, b"\0"), mark
            ),
        }
        for mark, space in spaces.items()
        if known.get(mark) != space
    ]
    if rows:
        run.catalogue.write({"meta": rows})
