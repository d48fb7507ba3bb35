"""Write simulated scans as a BIDS dataset: images, a JSON side-car for each, and the session tables with the dates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging import volume
from siamese_med.runtime.files import write_text_file
from siamese_med.simulation.scanner import TIMINGS_MS

if TYPE_CHECKING:
    from siamese_med.imaging.volume import Volume
    from siamese_med.simulation.scanner import Scanner


def write_bids_scan(folder: Path, person: int, visit: int, machine: Scanner, scan: Volume) -> Path:
    """Write one image, rounded to int16, and its side-car.

    Parameters
    ----------
    folder
        Root of the BIDS dataset.
    person
        Number of the patient; becomes `sub-000`.
    visit
        Number of the visit, from 1; becomes `ses-01`.
    machine
        Scanner whose contrast, timing and names go into the file name and the side-car.

    Returns
    -------
    Path of the `.nii.gz` file.
    """
    name = f"sub-{person:03d}_ses-{visit:02d}_{machine.contrast}"
    path = folder / f"sub-{person:03d}" / f"ses-{visit:02d}" / "anat" / f"{name}.nii.gz"
    voxels = np.round(np.asarray(scan.voxels, dtype=np.float32)).astype(np.int16)
    volume.write_volume(path, volume.Volume(voxels, scan.affine))
    write_text_file(path.with_name(f"{name}.json"), json.dumps(_side_car(machine), indent=2))
    return path


def _side_car(machine: Scanner) -> dict[str, object]:
    _, repetition_ms, echo_ms, inversion_ms = TIMINGS_MS[machine.contrast]
    content: dict[str, object] = {
        "Modality": "MR",
        "Manufacturer": machine.maker,
        "ManufacturersModelName": machine.name,
        "DeviceSerialNumber": machine.name[-1] * 5,
        "MagneticFieldStrength": 3,
        "RepetitionTime": repetition_ms / 1000,
        "EchoTime": echo_ms / 1000,
    }
    return content if inversion_ms is None else {**content, "InversionTime": inversion_ms / 1000}


def write_bids_tables(folder: Path, name: str, days: Mapping[int, Sequence[str]]) -> None:
    """Write `dataset_description.json`, and for each patient the sessions with their dates (`acq_time`).

    Parameters
    ----------
    folder
        Root of the BIDS dataset.
    name
        Name of the dataset.
    days
        For each patient number, the ISO dates of the visits in order. Nothing is written if it is empty.
    """
    if not days:
        return
    description = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    write_text_file(folder / "dataset_description.json", json.dumps(description, indent=2))
    for person, dates in days.items():
        lines = ["session_id\tacq_time"]
        lines += [f"ses-{visit:02d}\t{day}T10:15:00" for visit, day in enumerate(dates, 1)]
        write_text_file(folder / f"sub-{person:03d}" / f"sub-{person:03d}_sessions.tsv", "\n".join(lines) + "\n")
