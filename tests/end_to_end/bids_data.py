"""A small BIDS data set, made of the shared study's scans."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd

from tests.studies import Made

DAYS = ("2020-01-01", "2021-01-01")


def write_bids_data(made_study: Made, folder: Path) -> None:
    """Write two participants with two visits each, and one without a scan."""
    folder.mkdir(exist_ok=True)
    rows = pd.read_csv(made_study.export / "manifest.csv")
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "Two people", "BIDSVersion": "1.10.0"}))
    for label, patient in (("01", "p0"), ("02", "p1")):
        own = folder / f"sub-{label}"
        for number, path in enumerate(rows[rows.subject == patient].path, 1):
            scan = own / f"ses-{number}" / "anat" / f"sub-{label}_ses-{number}_FLAIR.nii.gz"
            scan.parent.mkdir(parents=True)
            shutil.copyfile(made_study.export / path, scan)
        lines = ["session_id\tacq_time", *(f"ses-{n}\t{day}T10:00:00" for n, day in enumerate(DAYS, 1))]
        (own / f"sub-{label}_sessions.tsv").write_text("\n".join(lines) + "\n")
    (folder / "sub-03" / "anat").mkdir(parents=True)
    (folder / "sub-03" / "anat" / "sub-03_T1w.nii.gz").write_bytes(b"not an image")
