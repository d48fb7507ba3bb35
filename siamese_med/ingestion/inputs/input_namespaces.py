"""Name spaces that tell equal places and labels of several inputs apart: `a/T1.nii` and `b/T1.nii` are two people.

The first input of a study keeps its places and labels as they are. A later one gets a name space of its own for all
that means nothing outside of it: a file's place, a plain folder, the labels of a BIDS dataset without a Name. The
catalogue remembers it. An input that was moved or copied is known by its images, and keeps the name space that it had.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from siamese_med.ingestion.catalogue.rows import META_TABLE, PATH_TABLE, SUBJECT_TABLE
from siamese_med.ingestion.inputs.bids_metadata import NIFTI_ENDINGS
from siamese_med.ingestion.inputs.claims import INPUT_SPACE_PREFIX
from siamese_med.ingestion.inputs.dataset_namespaces import choose_namespaces
from siamese_med.ingestion.inputs.entries import InputEntry
from siamese_med.ingestion.inputs.ownership import identify_nifti_owner, unseal_owner
from siamese_med.ingestion.inspection import inspect_entries
from siamese_med.ingestion.run_state import IngestRun

INPUT_KEY_PREFIX = "input "
"""Prefix of the keys of the catalogue's rows about inputs."""

PLAIN_KINDS = {"name", "folder", "bids"}
"""Kinds of claims, without a name space, in which another input could name its own patients alike."""

MOVED_SHARE = 0.5
"""An input is another one that was moved or copied if more than this share of its patients have an image of that one.

Source: our choice. A template that two studies share is one image of many."""

SPACE_CHARS = 16
"""Characters of an HMAC that tell two inputs apart."""


def assign_input_space(run: IngestRun, source: Path) -> None:
    """Give the files of an input that nothing names everywhere the input's name space, and note it in the catalogue.

    Must run before any claim of the run is used, since claims contain it. The files of a new input are read here: they
    may be those of an input that was moved.

    Parameters
    ----------
    run
        The run, begun; `input_space` is set.
    source
        The input: a folder, or a file, which stands for the folder that it is in.
    """
    run.load_paths()
    placed = [entry for entry in run.entries if _is_placed(entry)]
    if not placed:
        return
    folder = (source if source.is_dir() else source.parent).absolute()
    mark = f"{INPUT_KEY_PREFIX}{run.secret.label('input', folder)}"
    known = {
        row["key"]: row["value"] for row in run.catalogue.rows(META_TABLE) if row["key"].startswith(INPUT_KEY_PREFIX)
    }
    if mark in known:
        _use(run, known[mark])
        return
    if not _is_first_input(run, source):
        _use(run, f"{INPUT_SPACE_PREFIX}{run.secret.label('input space', folder)[:SPACE_CHARS]}")
        _look_for_moved(run, placed, {"", *known.values()})
    run.catalogue.write({"meta": [{"key": mark, "value": run.input_space}]})


def _is_placed(entry: InputEntry) -> bool:
    """Whether a file could get its patient from its place, its folders or its labels."""
    found = entry.found
    return not found.listed and not found.reason and found.path.name.lower().endswith(NIFTI_ENDINGS)


def _is_first_input(run: IngestRun, source: Path) -> bool:
    """Whether no patient has a name without a name space yet, or a catalogue of before knows this input."""
    label = run.secret.label("input", source.absolute())
    if any(row["input"] == label and row["claim"] for row in run.catalogue.rows(PATH_TABLE)):
        return True
    owners = (
        unseal_owner(row["subject"], row["sealed"], run.secret).space for row in run.catalogue.rows(SUBJECT_TABLE)
    )
    return PLAIN_KINDS.isdisjoint(owners)


def _use(run: IngestRun, space: str) -> None:
    run.input_space = space
    for entry in run.entries:
        entry.found.input_space = space
        entry.found.forget_claim()


def _look_for_moved(run: IngestRun, placed: list[InputEntry], spaces: Iterable[str]) -> None:
    """Take the name space of another input, if most patients of this one have an image under it already."""
    inspect_entries(run, [entry for entry in placed if entry.look is None])
    run.load_fates("sha256", {entry.look.sha256 for entry in placed if entry.look})
    scanned: dict[str, set[str]] = defaultdict(set)
    for (digest, _), fate in run.fates.items():
        scanned[digest].add(fate.scan.partition("_")[0])
    subjects = {row["subject"] for row in run.catalogue.rows(SUBJECT_TABLE)}
    own = run.input_space
    for space in sorted(spaces):
        _use(run, space)
        choose_namespaces(run)
        there, same = set[str](), set[str]()
        for entry in placed:
            owner = identify_nifti_owner(entry.found.claim).subject(run.secret)
            there.add(owner)
            if owner in subjects and entry.look and owner in scanned[entry.look.sha256]:
                same.add(owner)
        if len(same) > MOVED_SHARE * len(there):
            return
    _use(run, own)
