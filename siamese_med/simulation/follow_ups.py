"""Simulated follow-ups of real scans: a BIDS dataset in which every source scan is a patient with several visits.

<folder>/sub-000/ses-01/anat/sub-000_ses-01_T1w.nii.gz ...   patients in the order of the sources
<folder>/simulation.json                                     the parameters; written last, so it marks a complete tree

No visit is the source itself. All visits come from the same set of scanners, with fields of view that nine of ten
sources can fill, so neither the size nor the position of a scan's box tells which patient it belongs to.
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
"""Each scanner's field of view is drawn between this share and 1 of the largest that the sources allow."""

MAX_PIXELS_PER_SIDE = 120
"""Limit of the resolution along the shortest side of a field of view: that of the scanners of simulated heads."""


@dataclass(frozen=True)
class ScannerProtocol:
    """A scanner, and its field of view (3,) in mm along right, anterior and superior."""

    machine: Scanner
    extent_mm: NDArray[np.float64]


@dataclass(frozen=True)
class FollowUpJob:
    """The follow-ups to simulate of one source; picklable, for `run_in_parallel`."""

    folder: Path
    source: Path
    number: int
    visits: int
    seed: int
    protocols: tuple[ScannerProtocol, ...]


def write_follow_ups(folder: Path, sources: Sequence[Path], visits: int, seed: int = 0, contrast: str = "T1w") -> Path:
    """Simulate and write follow-ups of real scans; a complete dataset with the same parameters is left as it is.

    Parameters
    ----------
    folder
        Root of the BIDS dataset. Its old content is deleted if it was made otherwise.
    sources
        NIfTI files, one per patient, of one contrast.
    visits
        Number of visits per patient.
    contrast
        Contrast that the files are named by. The sources' own contrast is kept, but for small random changes.

    Returns
    -------
    `folder`.
    """
    content = hashlib.sha256(" ".join(compute_file_digest(source) for source in sources).encode()).hexdigest()
    recipe = {"sources": content, "visits": visits, "seed": seed, "contrast": contrast}
    marker = folder / "simulation.json"
    if marker.is_file() and json.loads(marker.read_text()) == recipe:
        return folder
    marker.unlink(missing_ok=True)  # first: a tree that is half deleted must not seem complete
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
    """Write all visits of one patient; returns their dates."""
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
    """Align the source's axes with the world axes and centre it at the origin, so that its position is lost."""
    upright = volume.reorient_to_ras(source)
    affine = np.diag([*upright.spacing_mm, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(upright.voxels.shape) - 1) / 2)
    return Volume(upright.voxels, affine)
