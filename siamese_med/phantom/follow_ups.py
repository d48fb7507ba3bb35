"""Simulated follow-ups of real scans: a BIDS tree in which every source is a person with several visits.

<folder>/sub-000/ses-01/anat/sub-000_ses-01_T1w.nii.gz ...   persons in the order of the sources
<folder>/simulation.json                                     the recipe; written last, so it marks a complete tree

No visit is the source itself. All come from one fleet of machines, whose fields of view are as large as nine in ten
sources allow: neither size nor place of a scan's box tells whose it is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med import volume
from siamese_med.files import digest, write_text
from siamese_med.parallel import in_parallel
from siamese_med.phantom import bids, rescan
from siamese_med.phantom.cohort import FIRST_VISIT
from siamese_med.phantom.scanner import Scanner
from siamese_med.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALLEST_FIELD = 0.95
"""A machine's field of view as a share of the largest that the sources allow; drawn between this and 1."""

MOST_PIXELS = 120
"""Along the shortest side of a field of view: as fine as the machines that scan simulated heads."""


@dataclass(frozen=True)
class Protocol:
    """A machine and its field of view (3,) in mm, to the right, front and head."""

    machine: Scanner
    extent_mm: NDArray[np.float64]


@dataclass(frozen=True)
class Person:
    """One source and what is to be made of it."""

    folder: Path
    source: Path
    number: int
    visits: int
    seed: int
    protocols: tuple[Protocol, ...]


def write(folder: Path, sources: Sequence[Path], visits: int, seed: int = 0, contrast: str = "T1w") -> Path:
    """Simulate and write `visits` visits of every source; returns `folder`. A complete tree is left as it is."""
    content = hashlib.sha256(" ".join(digest(source) for source in sources).encode()).hexdigest()
    recipe = {"sources": content, "visits": visits, "seed": seed, "contrast": contrast}
    marker = folder / "simulation.json"
    if marker.is_file() and json.loads(marker.read_text()) == recipe:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    protocols = _protocols(sources, np.random.default_rng([seed, 1]), contrast)
    people = [Person(folder, source, number, visits, seed, protocols) for number, source in enumerate(sources)]
    days = dict(enumerate(in_parallel(_write_person, people, "simulating follow-ups")))
    bids.write_tables(folder, "siamese-med simulated follow-ups", days)
    write_text(marker, json.dumps(recipe))
    return folder


def _protocols(sources: Sequence[Path], rng: np.random.Generator, contrast: str) -> tuple[Protocol, ...]:
    bodies = [rescan.body(volume.read(source)) for source in sources]
    largest = np.quantile([body.extent_mm() for body in bodies], 0.1, axis=0)
    spacing = np.median([body.spacing_mm for body in bodies], axis=0).clip(min=largest.min() / MOST_PIXELS)
    machines = rescan.fleet(spacing, rng, contrast)
    return tuple(Protocol(machine, largest * rng.uniform(SMALLEST_FIELD, 1, 3)) for machine in machines)


def _write_person(person: Person) -> list[str]:
    """Write all visits of one person; returns their dates."""
    rng = np.random.default_rng([person.seed, 2, person.number])
    body = rescan.body(_straightened(volume.read(person.source)))
    day, days = FIRST_VISIT + timedelta(days=int(rng.integers(0, 300))), []
    for visit in range(1, person.visits + 1):
        protocol = person.protocols[rng.integers(len(person.protocols))]
        scan = rescan.acquire(body, protocol.machine, rng, protocol.extent_mm).volume
        bids.write_scan(person.folder, person.number, visit, protocol.machine, scan)
        days.append(date.isoformat(day))
        day += timedelta(days=int(rng.integers(1, 400)))
    return days


def _straightened(source: Volume) -> Volume:
    """The source with its axes along the world's and its middle at the origin: where it lay is told to nobody."""
    upright = volume.canonical(source)
    affine = np.diag([*upright.spacing_mm, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(upright.voxels.shape) - 1) / 2)
    return Volume(upright.voxels, affine)
