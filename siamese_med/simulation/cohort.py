"""A simulated longitudinal study on disk: input as a hospital would export it, and the ground truth beside it.

<folder>/input/dicom/...   half of the patients, as DICOM series (with localizers and a duplicate file)
<folder>/input/bids/...    the other half, as a BIDS dataset of NIfTI files
<folder>/truth/...         masks of what changed, in the space of the later scan
<folder>/truth.csv         one row per visit; written last, so it marks a complete cohort
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging import volume
from siamese_med.runtime.files import replace_atomically, write_text_file
from siamese_med.runtime.parallel import run_in_parallel
from siamese_med.simulation import anatomy, bids_tree, dicom_series, scanner
from siamese_med.simulation.anatomy import Anatomy
from siamese_med.simulation.scanner import Acquisition, Scanner

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_ANATOMY_DIFFERENCE = 0.4
"""Differences between simulated patients (see `simulate_anatomy`), about those between real patients."""
FIRST_VISIT_DATE = date(2021, 3, 1)
"""First visits are on this date or up to 299 days later."""


@dataclass(frozen=True)
class CohortParameters:
    """All parameters of a cohort; the same parameters give the same cohort."""

    patients: int
    visits: int
    seed: int
    difference: float
    contrasts: tuple[str, ...]
    inside_only: bool

    def as_json(self) -> dict[str, object]:
        """Convert to JSON types, for the file that marks a complete cohort."""
        return {**asdict(self), "contrasts": list(self.contrasts)}


@dataclass(frozen=True)
class VisitTruth:
    """The ground truth of one simulated visit: a row of `truth.csv`.

    `change_mm3` is the change since the visit before, `scan` the path of the scan relative to the cohort's folder.
    """

    patient: int
    person: str
    visit: int
    date: str
    format: str
    scanner: str
    change: str
    change_mm3: float
    lesion_mm3: float
    ventricle_mm3: float
    scan: str


def write_cohort(
    folder: Path,
    patients: int = 24,
    visits: int = 3,
    seed: int = 0,
    difference: float = DEFAULT_ANATOMY_DIFFERENCE,
    contrasts: Sequence[str] = ("FLAIR",),
    inside_only: bool = False,
) -> pd.DataFrame:
    """Simulate and write a cohort; a complete cohort with the same parameters is left as it is.

    Parameters
    ----------
    difference, inside_only
        How patients differ (`anatomy.simulate_anatomy`).
    contrasts
        Contrasts of the scanners in turn (`scanner.draw_scanners`); with several, a patient's visits may differ.

    Returns
    -------
    The ground truth, one row per visit, with the columns of VisitTruth.
    """
    import pandas as pd

    table = folder / "truth.csv"
    recipe = CohortParameters(patients, visits, seed, difference, tuple(contrasts), inside_only)
    marker = folder / "simulation.json"
    if table.is_file() and marker.is_file() and json.loads(marker.read_text()) == recipe.as_json():
        return pd.read_csv(table)
    for mark in (marker, table):  # first: a cohort that is half deleted or half written must not seem complete
        mark.unlink(missing_ok=True)
    for part in ("input", "truth"):
        shutil.rmtree(folder / part, ignore_errors=True)
    jobs = [(folder, number, recipe) for number in range(recipe.patients)]
    rows = [row for visits in run_in_parallel(_simulate, jobs, "simulating patients") for row in visits]
    truth = pd.DataFrame([asdict(row) for row in rows])
    nifti = truth[truth.format == "nifti"]
    days = {int(person): list(visits.date) for person, visits in nifti.groupby("person")}
    bids_tree.write_bids_tables(folder / "input" / "bids", "siamese-med simulated cohort", days)
    write_text_file(marker, json.dumps(recipe.as_json()))
    with replace_atomically(table) as temporary:
        truth.to_csv(temporary, index=False)
    return truth


def _simulate(job: tuple[Path, int, CohortParameters]) -> list[VisitTruth]:
    import torch

    torch.set_num_threads(1)  # one process a core already
    return write_simulated_patient(*job)


def write_simulated_patient(folder: Path, number: int, recipe: CohortParameters) -> list[VisitTruth]:
    """Simulate and write all visits of patient `number`, as DICOM for even numbers and as BIDS for odd ones.

    A recipe with more visits gives the same first visits.
    """
    machines = scanner.draw_scanners(np.random.default_rng([recipe.seed, 1]), scanner.SCANNER_COUNT, recipe.contrasts)
    rng = np.random.default_rng([recipe.seed, 2, number])
    current = anatomy.simulate_anatomy(rng, recipe.difference, recipe.inside_only)
    day, rows = FIRST_VISIT_DATE + timedelta(days=int(rng.integers(0, 300))), []
    for visit in range(recipe.visits):
        earlier = current
        change, volume_mm3 = ("first", 0.0)
        if visit:
            change, volume_mm3, gap = _draw_change(rng, visit)
            current = _apply_change(current, rng, change, volume_mm3)
            day += timedelta(days=gap)
        machine = machines[rng.integers(len(machines))]
        scan = scanner.acquire_scan(current, machine, rng)
        rows.append(_write_visit(folder, number, visit, day, machine, scan, (earlier, current), change))
    return rows


def _draw_change(rng: np.random.Generator, visit: int) -> tuple[str, float, int]:
    """Kind and volume (mm3) of the change since the last visit, and the days between; visit 2 is often a rescan."""
    if visit == 1 and rng.random() < 0.6:
        return "rescan", 0.0, 1
    gap = int(rng.integers(90, 400))
    kind = str(rng.choice(["none", "new_lesion", "growing_lesion", "ventricles"], p=[0.3, 0.3, 0.2, 0.2]))
    size = math.exp(rng.uniform(math.log(300), math.log(6000)))
    return kind, {"none": 0.0, "ventricles": 2 * size}.get(kind, size), gap


def _apply_change(current: Anatomy, rng: np.random.Generator, change: str, volume_mm3: float) -> Anatomy:
    if change == "new_lesion":
        return anatomy.add_lesion(current, rng, volume_mm3)
    if change == "growing_lesion":
        return anatomy.grow_lesion(current, rng, volume_mm3)
    if change == "ventricles":
        return anatomy.enlarge_ventricles(current, volume_mm3)
    return current


def _write_visit(
    folder: Path,
    number: int,
    visit: int,
    day: date,
    machine: Scanner,
    scan: Acquisition,
    states: tuple[Anatomy, Anatomy],
    change: str,
) -> VisitTruth:
    earlier, current = states
    as_dicom = number % 2 == 0
    person = _person(number)
    if as_dicom:
        series = folder / "input" / "dicom" / f"export{number:03d}" / f"study{visit + 1}"
        seed = f"{number} {visit} {day}"
        when = dicom_series.SimulatedExamination(day.strftime("%Y%m%d"), seed)
        written = dicom_series.write_dicom_series(series / "series2", scan.volume, machine, person, when)
        dicom_series.write_localizer_series(series / "series1", scan.volume, machine, person, when)
        if visit == 0:
            shutil.copyfile(written[0], series / "series2" / "copy of IM0001")
        where = series / "series2"
    else:
        where = bids_tree.write_bids_scan(folder / "input" / "bids", number, visit + 1, machine, scan.volume)
    if change not in ("first", "rescan", "none"):
        _write_mask(folder / "truth" / f"patient{number:03d}_visit{visit + 1}_change.nii.gz", scan, states)
    lesions = current.lesion_mm3 - earlier.lesion_mm3
    ventricles = current.ventricle_mm3 - earlier.ventricle_mm3
    return VisitTruth(
        patient=number,
        person=person.identifier if as_dicom else f"{number:03d}",
        visit=visit + 1,
        date=day.isoformat(),
        format="dicom" if as_dicom else "nifti",
        scanner=machine.name,
        change=change,
        change_mm3=round(ventricles if change == "ventricles" else lesions, 1),
        lesion_mm3=round(current.lesion_mm3, 1),
        ventricle_mm3=round(current.ventricle_mm3, 1),
        scan=str(where.relative_to(folder)),
    )


def _person(number: int) -> dicom_series.PatientIdentity:
    """An invented patient. Names are made of syllables, so that tests can search all output bytes for them."""
    syllables = ("qua", "zor", "vel", "mip", "xan", "tuk", "rho", "bex")
    family = "".join(syllables[(number * factor + 3) % 8] for factor in (1, 3, 5)).capitalize()
    given = "".join(syllables[(number * factor + 1) % 8] for factor in (5, 7)).capitalize()
    return dicom_series.PatientIdentity(
        f"{family}{number}^{given}", f"HOSP-{7310000 + 37 * number}", f"19{40 + number % 50}0517", "FM"[number % 2]
    )


def _write_mask(path: Path, scan: Acquisition, states: tuple[Anatomy, Anatomy]) -> None:
    """Write a mask, uint8 in the later scan's space, of where more than half of a voxel became lesion or ventricle."""
    earlier, current = states
    changed = (current.lesion - earlier.lesion).abs()
    changed = changed.maximum(
        (current.tissue[anatomy.VENTRICLE_CHANNEL] - earlier.tissue[anatomy.VENTRICLE_CHANNEL]).abs()
    )
    points = scanner.compute_grid_points(scan.to_anatomy @ scan.volume.affine, scan.volume.voxels.shape)
    mask = (anatomy.sample_channels(changed[None], points)[0] > 0.5).numpy().astype(np.uint8)
    volume.write_volume(path, volume.Volume(mask, scan.volume.affine))
