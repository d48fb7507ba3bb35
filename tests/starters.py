"""A stand-in for the starter model: the shared study's own model, as if it had been trained on other people.

It has no unchanged pairs of its own, as the one that ships, and its template is another file than the study's.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.network import model_folder
from siamese_med.runtime import files
from siamese_med.study.model_info import read_model_info
from tests.studies import Made

OTHER_PEOPLE = [hashlib.sha256(b"other people's scan %d" % number).hexdigest() for number in range(4)]
STARTER_ID = "starter-of-the-tests"


def make_starter(made: Made, folder: Path) -> Path:
    """Write the stand-in to a new folder, and return it."""
    shutil.copytree(made.model, folder)
    template = folder / model_folder.TEMPLATE_FILE
    whole = volume.read_volume(template)
    volume.write_volume(template, Volume((whole.voxels * 1.001).astype(np.float32), whole.affine))
    about = read_model_info(folder).to_json_object()
    about |= {"id": STARTER_ID, "template_sha256": files.compute_file_digest(template), "head_template": False}
    about |= {"learned_from": OTHER_PEOPLE, "trained_on": OTHER_PEOPLE[:2]}
    about |= {"change_reference": {"strata": []}, "growth_reference": {"strata": []}}
    files.write_json_file(folder / "model.json", about)
    return folder


def marks(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Size, time and digest of every file below a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): (
            path.stat().st_size,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in paths
    }
