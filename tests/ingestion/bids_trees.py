"""Small BIDS trees for tests."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

from tests.ingestion import exports

SEEDS = count(1)
SESSIONS = ("1", "2")


def scan(path: Path) -> Path:
    """A NIfTI at a path, with voxels of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exports.nifti(next(SEEDS)).to_filename(path)
    return path


def subjects(root: Path, *labels: str, sessions: tuple[str, ...] = SESSIONS) -> None:
    """A T1w scan in every session of every subject."""
    for label in labels:
        for session in sessions:
            scan(root / f"sub-{label}/ses-{session}/anat/sub-{label}_ses-{session}_T1w.nii.gz")


def data_set(root: Path, name: str | None, *labels: str, sessions: tuple[str, ...] = SESSIONS) -> Path:
    """A data set with a description; without a Name in it where `name` is None."""
    root.mkdir(parents=True, exist_ok=True)
    content = {"BIDSVersion": "1.9.0"} | ({} if name is None else {"Name": name})
    (root / "dataset_description.json").write_text(json.dumps(content), encoding="utf-8")
    subjects(root, *labels, sessions=sessions)
    return root
