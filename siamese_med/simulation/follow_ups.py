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

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.runtime.files import compute_file_digest, write_text_file
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.simulation import bids_tree, rescan
from siamese_med.simulation.cohort import FIRST_VISIT_DATE
from siamese_med.simulation.scanner import Scanner

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_FIELD_OF_VIEW_SHARE = 0.95
"""A machine's field of view as a share of the largest that the sources allow; drawn between this and 1."""

MAX_PIXELS_PER_SIDE = 120
"""Along the shortest side of a field of view: as fine as the machines that scan simulated heads."""


@dataclass(frozen=True)
class ScannerProtocol:
    """A machine and its field of view (3,) in mm, to the right, front and head."""

    machine: Scanner
    extent_mm: NDArray[np.float64]


@dataclass(frozen=True)
class FollowUpJob:
    """One source and what is to be made of it."""

    folder: Path
    source: Path
    number: int
    visits: int
    seed: int
    protocols: tuple[ScannerProtocol, ...]


def write_follow_ups(folder: Path, sources: Sequence[Path], visits: int, seed: int = 0, contrast: str = "T1w") -> Path:
    """Simulate and write `visits` visits of every source; returns `folder`. A complete tree is left as it is."""
    content = hashlib.sha256(" ".join(compute_file_digest(source) for source in sources).encode()).hexdigest()
    recipe = {"sources": content, "visits": visits, "seed": seed, "contrast": contrast}
    marker = folder / "simulation.json"
    if marker.is_file() and json.loads(marker.read_text()) == recipe:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    protocols = _protocols(sources, np.random.default_rng([seed, 1]), contrast)
    people = [FollowUpJob(folder, source, number, visits, seed, protocols) for number, source in enumerate(sources)]
    days = dict(enumerate(run_in_parallel(_write_person, people, "simulating follow-ups")))
    bids_tree.write_bids_tables(folder, "siamese-med simulated follow-ups", days)
    write_text_file(marker, json.dumps(recipe))
    return folder


def _protocols(sources: Sequence[Path], rng: np.random.Generator, contrast: str) -> tuple[ScannerProtocol, ...]:
    bodies = [rescan.extract_body(volume.read_volume(source)) for source in sources]
    largest = np.quantile([body.extent_mm() for body in bodies], 0.1, axis=0)
    spacing = np.median([body.spacing_mm for body in bodies], axis=0).clip(min=largest.min() / MAX_PIXELS_PER_SIDE)
    machines = rescan.draw_rescan_scanners(spacing, rng, contrast)
    return tuple(ScannerProtocol(machine, largest * rng.uniform(MIN_FIELD_OF_VIEW_SHARE, 1, 3)) for machine in machines)


def _write_person(person: FollowUpJob) -> list[str]:
    """Write all visits of one person; returns their dates."""
    rng = np.random.default_rng([person.seed, 2, person.number])
    body = rescan.extract_body(_centre_axis_aligned(volume.read_volume(person.source)))
    day, days = FIRST_VISIT_DATE + timedelta(days=int(rng.integers(0, 300))), []
    for visit in range(1, person.visits + 1):
        protocol = person.protocols[rng.integers(len(person.protocols))]
        scan = rescan.acquire_rescan(body, protocol.machine, rng, protocol.extent_mm).volume
        bids_tree.write_bids_scan(person.folder, person.number, visit, protocol.machine, scan)
        days.append(date.isoformat(day))
        day += timedelta(days=int(rng.integers(1, 400)))
    return days


def _centre_axis_aligned(source: Volume) -> Volume:
    """The source with its axes along the world's and its middle at the origin: where it lay is told to nobody."""
    upright = volume.reorient_to_ras(source)
    affine = np.diag([*upright.spacing_mm, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(upright.voxels.shape) - 1) / 2)
    return Volume(upright.voxels, affine)
