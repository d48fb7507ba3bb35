"""`ingest.deface`: no face is written, what cannot be defaced is kept out, and the study remembers the decision."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from siamese_med.brain import head_template
from siamese_med.ingestion.catalogue.catalogue import Catalogue
from siamese_med.ingestion.catalogue.face_setting import decide_defacing
from siamese_med.study.config import IngestConfig
from tests.ingestion.conftest import Place

NOSE = (0.0, 108.0, -40.0)
"""In mm of the template of heads."""


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head with a mask of all of it, and something that is no head."""
    folder = tmp_path_factory.mktemp("export")
    head = head_template.load_head_template("T1w")
    voxels = np.round(1000 * head.voxels).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, head.affine), folder / "head.nii.gz")
    nib.save(nib.Nifti1Image((voxels > 100).astype(np.int16), head.affine), folder / "outline.nii.gz")
    noise = np.random.default_rng(0).normal(500, 90, (30, 30, 30)).astype(np.int16)
    nib.save(nib.Nifti1Image(noise, np.diag([3.0, 3.0, 3.0, 1.0])), folder / "knee.nii.gz")
    table = "subject,session,path,mask,contrast\nanna,1,head.nii.gz,outline.nii.gz,T1w\nbert,1,knee.nii.gz,,T1w\n"
    (folder / "manifest.csv").write_text(table)
    return folder / "manifest.csv"


def nose(place: Place, name: str = "path") -> int:
    """The brightest voxel about the nose in the scan of the head, or in its mask."""
    scans = place.scans().set_index("contrast").loc[["T1w"]]
    (path,) = (path for path, shape in zip(scans[name], scans["shape"], strict=True) if shape[0] > 30)
    image = nib.load(place.data / path)
    i, j, k = np.round(np.linalg.inv(image.affine) @ [*NOSE, 1])[:3].astype(int)
    return int(np.asarray(image.dataobj)[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3].max())


def test_faces_are_removed_when_asked_for_kept_away_and_given_back_when_the_config_says_so(
    place: Place, export: Path
) -> None:
    before = place.ingest(export, workers=1).scans
    assert (len(before), nose(place) > 100, nose(place, "mask")) == (2, True, 1)
    assert not any("defaced" in flags for flags in before["flags"])

    defaced = place.ingest(export, deface=True, workers=1)
    (scan,) = defaced.scans.to_dict("records")
    assert scan["id"] in set(before["id"])
    assert "defaced" in scan["flags"]
    assert scan["sha256"] not in set(before["sha256"])
    assert defaced.account.reasons == {"face_not_removed": 1}
    assert (nose(place) < 60, nose(place, "mask")) == (True, 0)
    images = {path.name.removesuffix(".nii.gz") for path in place.data.rglob("*.nii.gz")}
    assert images == {scan["id"], f"{scan['id']}_mask"}  # the scan of what is no head is gone
    side_car = (place.data / scan["path"].replace(".nii.gz", ".json")).read_text()
    assert "defaced" in json.loads(side_car)["Flags"]

    written = (place.data / scan["path"]).stat().st_mtime_ns
    again = place.ingest(export, workers=1)  # nothing is said of faces: as before, and nothing is done twice
    assert again.account.reasons == {"face_not_removed": 1}
    assert (place.data / scan["path"]).stat().st_mtime_ns == written

    back = place.ingest(export, deface=False, workers=1)
    assert (len(back.scans), nose(place) > 100, nose(place, "mask")) == (2, True, 1)


def test_a_study_remembers_what_its_last_run_did(tmp_path: Path) -> None:
    catalogue = Catalogue(f"sqlite:///{tmp_path / 'catalogue.sqlite'}", "mark")
    said = [decide_defacing(IngestConfig(deface=one), catalogue).deface for one in (None, True, None, False, None)]
    catalogue.close()
    assert said == [None, True, True, None, None]
