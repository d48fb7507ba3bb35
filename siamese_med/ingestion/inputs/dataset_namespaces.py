"""How the labels of several BIDS data sets are told apart, the same way in every run.

The only data set of an input keeps its labels as they are. Of several, each has a name space of its own, after the Name
in its description, or after its folder below the input where that has none. The catalogue remembers, under the secret,
which name space each data set has, so that one that came first and alone keeps its pseudonyms when others join it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from siamese_med.ingestion.inputs.bids_datasets import BidsDataset, share_subject_labels
from siamese_med.ingestion.inputs.entries import InputEntry, compute_claim_key
from siamese_med.ingestion.run_state import IngestRun

DATASET_KEY_PREFIX = "data set "
"""How the keys of the catalogue's rows about data sets begin."""

SEALED_NAMESPACE_BYTES = 256
MAX_FILES_TO_COMPARE = 100
"""Files of a data set that an earlier run knew and that are asked for its name space."""


class _Marks(NamedTuple):
    """Keys of a data set: by Name and folder, and by Name alone (empty where the Name is not its own)."""

    exact: str
    name: str


def assign_namespaces(run: IngestRun) -> None:
    """Give every data set of the input its name space, and write it down; before any claim is asked for."""
    run.load_paths()
    sets = _with_subjects(run.entries)
    known = _known_spaces(run)
    if not known and len(sets) < 2:
        _note(run, sets, known)
        return
    written = {id(one): _written(run, one, sets, known) for one in sets}
    taken = [one for one in sets if written[id(one)] is not None]
    for one in taken:
        one.space, one.known = written[id(one)] or "", True
    others = [(one, _of_earlier_files(run, one, known)) for one in sets if one not in taken]
    for one, space in sorted(others, key=lambda pair: pair[1] is None):  # newcomers give way
        one.space, one.known = (_new_space(one, sets, known), False) if space is None else (space, True)
        if share_subject_labels(one, taken):
            one.space = _own_space(one, alone=False)
        taken.append(one)
    _note(run, sets, known)


def merge_dataset_copies(run: IngestRun) -> None:
    """Let a copy of a data set (same Name, an equal image of an equal label) share the name space of the first."""
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
    """Data sets that have labelled images, in the order of their folders, what has no description last."""
    sets = {id(one): one for entry in entries if (one := entry.found.data_set) is not None and one.subjects}
    return sorted(sets.values(), key=lambda one: (not one.described, one.folder))


def _entries(run: IngestRun, data_set: BidsDataset) -> Iterable[InputEntry]:
    return (entry for entry in run.entries if entry.found.data_set is data_set and entry.found.labels.subject)


def _images(run: IngestRun, data_set: BidsDataset) -> set[tuple[str, str]]:
    """Label and content of its NIfTI files, as far as they are known by now."""
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
    return _Marks(f"{DATASET_KEY_PREFIX}{run.secret.label('data set', one.name, one.folder.as_posix())}", by_name)


def _written(run: IngestRun, one: BidsDataset, sets: Iterable[BidsDataset], known: dict[str, str]) -> str | None:
    """The name space that the catalogue has for a data set, by Name and folder, else by Name; None without one."""
    return next((known[mark] for mark in _marks(run, one, sets) if mark in known), None)


def _of_earlier_files(run: IngestRun, one: BidsDataset, known: dict[str, str]) -> str | None:
    """The name space under which an earlier run took files that still lie where they lay; None where there are none."""
    candidates = sorted({"", *known.values(), _own_space(one, alone=True), _own_space(one, alone=False)})
    seen = [entry for entry in _entries(run, one) if entry.key in run.paths and run.paths[entry.key].unit[1]]
    return next(
        (space for entry in seen[:MAX_FILES_TO_COMPARE] for space in candidates if _was_claimed(run, entry, space)),
        None,
    )


def _was_claimed(run: IngestRun, entry: InputEntry, space: str) -> bool:
    """Whether an earlier run took this file under the label and this name space."""
    claim = entry.found.claimed_in(space)
    return compute_claim_key(claim, run.secret) == run.paths[entry.key].unit[1]


def _new_space(one: BidsDataset, sets: list[BidsDataset], known: dict[str, str]) -> str:
    """That of a data set which no run has seen: its labels as they are where nothing else could be meant by them."""
    if not one.described or (len(sets) == 1 and not (known and one.name)):
        return ""
    alone = sum(other.name == one.name for other in sets) == 1 and one.name not in known.values()
    return _own_space(one, alone)


def _own_space(one: BidsDataset, alone: bool) -> str:
    """A name space after a data set's Name, and its folder unless it is `alone` under that name."""
    if not one.described:
        return "without description"
    if one.name and alone:
        return one.name
    return f"{one.name} in {one.folder.as_posix()}".strip()


def _known_spaces(run: IngestRun) -> dict[str, str]:
    rows = {row["key"]: row["value"] for row in run.catalogue.rows("meta") if row["key"].startswith(DATASET_KEY_PREFIX)}
    return {mark: run.secret.unseal(value, mark).decode().rstrip("\0") for mark, value in rows.items()}


def _note(run: IngestRun, sets: list[BidsDataset], known: dict[str, str]) -> None:
    """Write down, sealed, the name spaces of data sets that have a Name, or a space of their own."""
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
