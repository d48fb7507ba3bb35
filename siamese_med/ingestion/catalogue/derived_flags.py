"""Flags that follow from several rows of the catalogue: they are added when scans are read, and never stored.

A new scan may contradict an old one, and a deleted one may take the contradiction with it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from siamese_med.ingestion.catalogue.date_conflicts import find_date_conflicts
from siamese_med.ingestion.catalogue.rows import AlarmRow, ScanRow
from siamese_med.ingestion.date_traits import DATE_TRAITS
from siamese_med.ingestion.dicom.person_traits import (
    FORMER_IDS_TRAIT,
    IDENTITY_TRAIT,
    INSTITUTION_TRAIT,
    LINK_TRAITS,
    NAME_TRAIT,
    NAMED_TRAIT,
    TRIAL_SUBJECT_TRAIT,
    VISIT_STEM_TRAIT,
)
from siamese_med.study.tables import WRONG_PATIENT
from siamese_med.study.vocabulary import ScanFlag, ScanSource

ISSUER_TRAIT = "issuer"
"""The trait that holds who issued the identifier."""

NO_PROOF_TRAITS = {ISSUER_TRAIT, NAME_TRAIT, FORMER_IDS_TRAIT, INSTITUTION_TRAIT, VISIT_STEM_TRAIT, *DATE_TRAITS}
"""Traits that prove nothing where they are equal: anonymisers write one name for everybody too."""

NO_CONTRADICTION_TRAITS = LINK_TRAITS | {INSTITUTION_TRAIT, VISIT_STEM_TRAIT, *DATE_TRAITS}
"""Traits in which the scans of one person may differ."""

PROOF_TRAITS, MIN_SHARED_TRAITS = {"birth date", TRIAL_SUBJECT_TRAIT, NAMED_TRAIT}, 2
"""Traits one of which proves that two headers are of one person, and how many of the others do. Source: our choice."""

Traits = Mapping[str, Sequence[str]]
"""Pseudonyms of the values that each trait of a person may have, see `dicom.person_traits`."""

MIN_VISITS_TO_ASK = 3
"""Visits from which on one identifier without any trait of a person may be that of several people.

Source: our choice."""

MIN_STEMS, MAX_VISITS_IN_IDS = 2, 6
"""Identifiers name visits (S01_V1, S01_V2) if at least so many patients have several, each at most so many.

One name for many, as in MS7_V1 to MS7_V20, is that of a study with numbered volunteers. Source: our choice."""

MAX_JOINED_MM = 300.0
"""Parts that make up more than this along the slices are stations of a longer body, not one volume.

Source: our choice."""

MAX_SHARED = 0.5
"""Parts of one volume may share up to this share of the smaller one's slices, as some exports repeat a margin.

Source: our choice."""

MAX_SHORTER = 0.6
"""Share of the slices of another scan down to which a scan of equal protocol may be shorter. Source: our choice."""

MAX_LOST = 1
"""So many slices may be lost between two parts of one volume: more is a gap of slabs. Source: our choice."""

PLACE_TOLERANCE_VOXELS = 0.1
"""Largest distance of a part, in voxels, from the place that it has in one volume."""


def add_derived_flags(scans: Iterable[ScanRow], alarms: Iterable[AlarmRow]) -> list[ScanRow]:
    """Add the flags that follow from other rows: alarms, contradictions, doubtful identifiers, parts of one volume.

    Parameters
    ----------
    scans
        All rows of the scan table; they are not changed.
    alarms
        Rows of the alarm table; an alarm for an earlier content of a scan has no effect.

    Returns
    -------
    list of ScanRow
        Copies in the same order.
    """
    rows = list(scans)
    found: dict[str, set[str]] = defaultdict(set)
    for flag, ids in (
        (WRONG_PATIENT, _find_alarmed(rows, alarms)),
        (str(ScanFlag.IDENTITY_CONFLICT), find_identity_conflicts(rows)),
        (str(ScanFlag.UNPROVEN_ID), find_unproven_ids(rows)),
        (str(ScanFlag.SIMILAR_ID), find_similar_ids(rows)),
        (str(ScanFlag.COPIED_SCAN), find_copied_scans(rows)),
        (str(ScanFlag.SPLIT_VOLUME), find_split_volumes(rows)),
        (str(ScanFlag.SHORTER_SCAN), find_shorter_scans(rows)),
        (str(ScanFlag.DATE_CONFLICT), find_date_conflicts(rows)),
    ):
        for scan in ids:
            found[scan].add(flag)
    return [{**row, "flags": [*row["flags"], *sorted(found[row["id"]])]} for row in rows]


def _find_alarmed(rows: Iterable[ScanRow], alarms: Iterable[AlarmRow]) -> Iterator[str]:
    standing = {(row["scan"], row["sha256"]) for row in alarms}
    return (row["id"] for row in rows if (row["id"], row["sha256"]) in standing)


def find_identity_conflicts(rows: Iterable[ScanRow]) -> set[str]:
    """Find the scans of subjects whose headers contradict one another in sex, birth date, height or name.

    Traits are pseudonyms under the likeness of the identifier, so only those under one likeness can be compared.
    """
    subjects = _group(rows, lambda row: row["subject"]).values()
    return {row["id"] for mine in subjects if any(map(_is_contradictory, _by_likeness(mine))) for row in mine}


def _by_likeness(rows: Iterable[ScanRow]) -> Iterable[list[ScanRow]]:
    return _group(rows, lambda row: row["likeness"]).values()


def _is_contradictory(rows: Iterable[ScanRow]) -> bool:
    return any(contradict(*pair) for pair in combinations(_distinct(_without_issuer(row["person"]) for row in rows), 2))


def find_unproven_ids(rows: Iterable[ScanRow]) -> set[str]:
    """Find the DICOM scans whose identifier may stand for several people, while headers do not prove that it does not.

    Either one identifier, no word for nobody, is that of all scans, of MIN_VISITS_TO_ASK visits or more; or one without
    an issuer was given in two institutions, which number their patients apart. A pseudonymised patient, or one who
    moved, looks the same, so this is only said. One birth date proves that two headers are of one person, and so do two
    other traits, such as sex and height; sex alone does not.
    """
    scans = [row for row in rows if row["source"] == ScanSource.DICOM]
    return _find_one_for_all(scans) | _find_equal_numbers(scans)


def _find_equal_numbers(scans: Iterable[ScanRow]) -> set[str]:
    """Find the scans of identifiers that two institutions gave, without an issuer or a proof that they mean one."""
    found: set[str] = set()
    for mine in _group(scans, lambda row: (row["subject"], row["likeness"])).values():
        told = [row for row in mine if INSTITUTION_TRAIT in row["person"]]
        places = _group(told, lambda row: tuple(row["person"][INSTITUTION_TRAIT]))
        issued = any(ISSUER_TRAIT in row["person"] for row in mine)
        if not issued and any(not _prove_one_person(*pair) for pair in combinations(places.values(), 2)):
            found |= {row["id"] for row in mine}
    return found


def _find_one_for_all(scans: Sequence[ScanRow]) -> set[str]:
    """Find all scans, if they have one identifier, and the headers of several visits prove nothing about the person."""
    visits = _group(scans, lambda row: (row["subject"], row["session"]))
    named = any(ScanFlag.PLACEHOLDER_ID in row["flags"] for row in scans)
    if named or len({row["subject"] for row in scans}) != 1 or len(visits) < MIN_VISITS_TO_ASK:
        return set()
    unproven = [mine for mine in visits.values() if not _prove_one_person(mine, mine)]
    return {row["id"] for row in scans} if len(unproven) > 1 else set()


def _prove_one_person(some: Iterable[ScanRow], others: Iterable[ScanRow]) -> bool:
    """Tell whether headers of two places or visits share what two people seldom do."""
    one, other = _gather_traits(some), _gather_traits(others)
    shared = {name for name in one.keys() & other.keys() if not one[name].isdisjoint(other[name])} - NO_PROOF_TRAITS
    return not shared.isdisjoint(PROOF_TRAITS) or len(shared) >= MIN_SHARED_TRAITS


def _gather_traits(rows: Iterable[ScanRow]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for name, values in row["person"].items():
            found[name].update(values)
    return found


def find_similar_ids(rows: Iterable[ScanRow]) -> set[str]:
    """Find the scans of subjects who may be one person.

    Their identifiers differ in writing or issuer alone, and nothing contradicts it; or a header names the identifier of
    the other; or name, birth date and sex are equal; or they differ in the visit at their ends.
    """
    rows = list(rows)
    found = _find_linked_ids(rows) | _find_visits_in_ids(rows)
    for alike in _group((row for row in rows if row["likeness"]), lambda row: row["likeness"]).values():
        people = _group(alike, lambda row: row["subject"])
        for first, second in combinations(people.values(), 2):
            traits = [_distinct(row["person"] for row in mine) for mine in (first, second)]
            if not any(contradict(one, other) for one in traits[0] for other in traits[1]):
                found |= {row["id"] for row in (*first, *second)}
    return found


def _find_visits_in_ids(rows: Iterable[ScanRow]) -> set[str]:
    """Find the scans of subjects whose identifiers are equal but for the visit at their ends."""
    stems: dict[str, set[str]] = defaultdict(set)
    scans: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for stem in row["person"].get(VISIT_STEM_TRAIT, ()):
            stems[stem].add(row["subject"])
            scans[row["subject"]].add(row["id"])
    several = [subjects for subjects in stems.values() if len(subjects) > 1]
    if len(several) < MIN_STEMS or max(map(len, several)) > MAX_VISITS_IN_IDS:
        return set()
    return {scan for subjects in several for subject in subjects for scan in scans[subject]}


def _find_linked_ids(rows: Iterable[ScanRow]) -> set[str]:
    """Find the scans of subjects that are linked by a former identifier, or by name, birth date and sex."""
    links: dict[str, set[str]] = defaultdict(set)
    scans: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        named = (*row["person"].get(FORMER_IDS_TRAIT, ()), *row["person"].get(IDENTITY_TRAIT, ()))
        for value in (*named, *([row["likeness"]] if row["source"] == ScanSource.DICOM and row["likeness"] else [])):
            links[value].add(row["subject"])
        scans[row["subject"]].add(row["id"])
    former = {value for row in rows for trait in LINK_TRAITS for value in row["person"].get(trait, ())}
    linked = {subject for value in former if len(links[value]) > 1 for subject in links[value]}
    return {scan for subject in linked for scan in scans[subject]}


def find_copied_scans(rows: Iterable[ScanRow]) -> set[str]:
    """Find scans of several patients or visits with equal voxels and places: measured twice, noise would differ."""
    return {
        row["id"]
        for alike in _group(rows, lambda row: row["sha256"]).values()
        if len({(row["subject"], row["session"]) for row in alike}) > 1
        for row in alike
    }


def contradict(one: Traits, other: Traits) -> bool:
    """Tell whether two headers cannot be of one person: of some trait that both have, they share no value.

    Examples
    --------
    >>> contradict({"birth year": ["a", "b"]}, {"birth year": ["b"], "sex": ["m"]})
    False
    >>> contradict({"sex": ["f"]}, {"sex": ["m"]})
    True
    """
    return any(set(one[name]).isdisjoint(other[name]) for name in (one.keys() & other.keys()) - NO_CONTRADICTION_TRAITS)


def find_split_volumes(rows: Iterable[ScanRow]) -> set[str]:
    """Find scans that are parts of one volume: of one visit, on one grid, one directly after or between the other.

    One visit is one session, or one day and another study.
    """
    found = set()
    for mine in _group(rows, lambda row: (row["subject"], row["modality"], row["contrast"])).values():
        for first, second in combinations(mine, 2):
            one_visit = first["session"] == second["session"] or first["date"] == second["date"] is not None
            if one_visit and make_one_volume(first, second):
                found |= {first["id"], second["id"]}
    return found


def find_shorter_scans(rows: Iterable[ScanRow]) -> set[str]:
    """Find scans that have at most MAX_SHORTER of the slices that another of the patient has with an equal grid.

    A series that lost its end has no gap, and headers seldom say how many slices there were.
    """
    found = set()
    for mine in _group(rows, lambda row: (row["subject"], row["modality"], row["contrast"])).values():
        for first, second in combinations(mine, 2):
            short, long = sorted((first, second), key=lambda row: math.prod(row["shape"]))
            if is_cut_short(short, long):
                found.add(short["id"])
    return found


def is_cut_short(short: ScanRow, long: ScanRow) -> bool:
    """Tell whether two scans have one matrix and spacing, but for the slices, of which the shorter has far fewer."""
    same_protocol = (short["protocol"], short["scanner"]) == (long["protocol"], long["scanner"])
    mine, other = (np.linalg.norm(np.asarray(row["affine"], dtype=float)[:3, :3], axis=0) for row in (short, long))
    if not same_protocol or not np.allclose(mine, other, rtol=1e-3):
        return False
    shares = sorted(one / other for one, other in zip(short["shape"], long["shape"], strict=True))
    return shares[0] <= MAX_SHORTER and shares[1] == shares[2] == 1


def make_one_volume(first: ScanRow, second: ScanRow) -> bool:
    """Tell whether the voxels of two scans lie on one grid, side by side or in turn, and share few places or none.

    A slice between them may be lost.
    """
    one, other = (np.asarray(row["affine"], dtype=float) for row in (first, second))
    same_protocol = (first["protocol"], first["scanner"]) == (second["protocol"], second["scanner"])
    if not same_protocol or not np.isfinite([one, other]).all() or abs(np.linalg.det(one[:3, :3])) < 1e-9:
        return False
    for axis in range(3):
        inside = [n for n in range(3) if n != axis]
        sizes = [(row["shape"][axis], [row["shape"][n] for n in inside]) for row in (first, second)]
        if sizes[0][1] != sizes[1][1] or not np.allclose(one[:3, :3], other[:3, :3], atol=1e-3):
            continue
        offset = np.linalg.solve(one[:3, :3], other[:3, 3] - one[:3, 3])
        if np.abs(offset[inside]).max() > PLACE_TOLERANCE_VOXELS:
            continue
        step, ahead = float(np.linalg.norm(one[:3, axis])), float(offset[axis])
        shared = sizes[0][0] - ahead if ahead > 0 else sizes[1][0] + ahead
        whole = abs(shared - round(shared)) < PLACE_TOLERANCE_VOXELS
        after = whole and -0.5 - MAX_LOST < shared < MAX_SHARED * min(sizes[0][0], sizes[1][0]) and abs(ahead) >= 1
        between = abs(abs(ahead) - 0.5) < PLACE_TOLERANCE_VOXELS and abs(sizes[0][0] - sizes[1][0]) <= 1
        if between or (after and (sizes[0][0] + sizes[1][0]) * step <= MAX_JOINED_MM):
            return True
    return False


def _group(rows: Iterable[ScanRow], key: Callable[[ScanRow], Hashable]) -> dict[Hashable, list[ScanRow]]:
    found: dict[Hashable, list[ScanRow]] = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return found


def _without_issuer(traits: Traits) -> Traits:
    """A manifest may name one patient of two hospitals."""
    return {name: values for name, values in traits.items() if name != ISSUER_TRAIT}


def _distinct(traits: Iterable[Traits]) -> list[Traits]:
    return list({repr(sorted(one.items())): one for one in traits}.values())
