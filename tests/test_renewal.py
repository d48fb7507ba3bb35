"""Every setting renews what docs/renewal.md says, and nothing else: the keys of all kept results, key by key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from siamese_med.imaging import registration, volume
from siamese_med.ingestion import verdict_rules
from siamese_med.pairing import pair_table
from siamese_med.preparation import aligned_volumes
from siamese_med.scoring.change.noise_floor import NoiseFloor
from siamese_med.scoring.change.pair_scoring import CalibratedDetector
from siamese_med.scoring.change.scan_side import ScanReader
from siamese_med.scoring.score_table import PairJob, ScoringSetup
from siamese_med.simulation.anatomy import Anatomy
from siamese_med.simulation.scanner import Acquisition
from siamese_med.study.config import Config
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.training import train_model, training_scans

PAGE = Path(__file__).parents[1] / "docs" / "renewal.md"
ROW = re.compile(r"^\| `(?P<key>[a-z_0-9.]+)` \| (?P<renews>[a-z, ]*)\|$", re.MULTILINE)
DOCUMENTED = {
    row["key"]: {word for word in re.split(r"[, ]+", row["renews"]) if word} for row in ROW.finditer(PAGE.read_text())
}

SMALL: dict[str, Any] = {
    "prepare": {"shape": (24, 24, 24), "spacing_mm": 1.6, "accelerator": "cpu"},
    "train": {"accelerator": "cpu"},
}
SCALE = 0.2
"""The heads are so small that no brain is sought in them, which saves time."""
OTHER: dict[str, Any] = {
    "ingest.secret_file": "/elsewhere",
    "ingest.database": "sqlite:///elsewhere",
    "ingest.volume_of_4d": "mean",
    "ingest.compress": False,
    "ingest.deface": True,
    "prepare.shape": (20, 20, 20),
    "prepare.min_quality": 1.0,
    "prepare.head_template": False,
    "prepare.transform": "affine",
    "prepare.accelerator": "auto",
    "train.loss": "triplet",
    "train.sampling": "pairs",
    "train.encoder": "resnet10",
    "train.miner": "semihard",
    "train.accelerator": "auto",
    "train.rendezvous": "elsewhere:1234",
    "train.precision": "bf16-mixed",
    "pair.validation_share": 0.5,
    "pair.test_share": 0.5,
    "pair.negatives_per_positive": 2.0,
    "pair.hard_negative_share": 0.0,
    "pair.rescan_days": 10_000,
    "score.accelerator": "cpu",
    "promote.starter_model": False,
    "report.title": "another",
    "report.response": "rano",
    "report.url": "https://elsewhere.example",
    "report.learn_from_answers": False,
    "run.dask": "tcp://elsewhere:1",
    "run.nightly": "",
    "run.retrain": "",
    "run.timezone": "Europe/Berlin",
    "run.trusted_plugins": ("some.nets:Net",),
    "prepare.registration_args": {"width": 1},
    "train.loss_args": {"width": 1},
    "train.encoder_args": {"width": 1},
    "train.transform_args": {"width": 1},
    "score.detector_args": {"width": 1},
    "ingest.reasons": {"tests.test_renewal:refuse": {}},
    "prepare.registration": "tests.test_renewal:lay_askew",
    "train.transform": "tests.test_renewal:refuse",
    "score.detector": "network",
}
"""Another value of each setting that is no number."""


def refuse(_scan: Any, _generator: Any = None) -> bool:
    """A plug-in that is named and never called."""
    return True


def lay_askew(moving: volume.Volume, fixed: volume.Volume, width: int = 0) -> Any:
    """A registration that gives nearly the matrix of the built-in one."""
    matrix = registration.register_scans([moving], fixed)[0].matrix.copy()
    matrix[0, 3] += 0.01 * (1 + width)
    return matrix


def settings() -> list[str]:
    whole = Config()
    return [f"{section}.{key}" for section in Config.model_fields for key in type(getattr(whole, section)).model_fields]


def changed(key: str, template: Path) -> Config:
    """The small config with another value of one setting."""
    section, name = key.split(".")
    values: dict[str, Any] = {part: dict(some) for part, some in SMALL.items()}
    before = getattr(getattr(Config.model_validate(SMALL), section), name)
    other = OTHER.get(key, template if key == "prepare.template" else None)
    if other is None:
        other = before + 1 if isinstance(before, int) else before * 0.9
    values.setdefault(section, {})[name] = other
    if key == "prepare.registration_args":
        values["prepare"]["registration"] = OTHER["prepare.registration"]
    if key == "train.hosts":
        values["train"]["rendezvous"] = "elsewhere:1234"
    return Config.model_validate(values)


class Kept:
    """A study of scans that are prepared anew under each config, and the keys of everything that is kept of it."""

    def __init__(self, data: Path, scans: pd.DataFrame) -> None:
        self._data, self._scans = data, scans

    def keys(self, config: Config) -> dict[str, Any]:
        study = Study(self._data, self._data / "reports", config)
        prepared = aligned_volumes.prepare_scans(self._scans, self._data, config.prepare.template, config.prepare)
        paired = pair_table.build_pair_table(self._scans, study.pairs, config.pair)
        usable = (
            training_scans.select_usable_scans(self._scans, prepared, paired)
            if prepared.alignments.ok.any()
            else self._scans[:0]
        )
        return {
            "refused": verdict_rules.compute_rules_digest(config.ingest),
            "aligned": (prepared.template.parent, prepared.contents(self._scans.id)),
            "usable": list(prepared.alignments.ok),
            "paired": paired.to_json(),
            "model": train_model.compute_model_id(study, usable, prepared, paired),
            "embedded": prepared.contents(self._scans.id),
            "measured": self._job(prepared, config).content,
        }

    def _job(self, prepared: PreparedStudy, config: Config) -> PairJob:
        """The two scans of the first patient."""
        earlier, later, *_ = prepared.scans(self._scans).values()
        nothing = CalibratedDetector(_no_detector, NoiseFloor({}), NoiseFloor({}))
        reader = ScanReader(self._data)
        setup = ScoringSetup(reader, self._data, nothing, "an instrument", config.score)
        return PairJob(setup, earlier, later, True, earlier.subject)


def _no_detector(*_: Any) -> Any:
    raise AssertionError("nothing is measured here")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, person: Anatomy, acquired: Callable[..., Acquisition]) -> Kept:
    """Six patients of whom each has the same two scans: what matters here are keys, not anatomy."""
    data = tmp_path_factory.mktemp("kept")
    files = []
    for visit in range(2):
        path = data / f"scans/{visit}.nii.gz"
        scan = acquired(person, visit, pixel_mm=6.0, slice_mm=6.0).volume
        volume.write_volume(path, volume.Volume(scan.voxels, np.diag([SCALE, SCALE, SCALE, 1.0]) @ scan.affine))
        files.append((path.name, volume.read_volume(path).content_digest()))
    rows = [_row(patient, visit, *files[visit]) for patient in range(6) for visit in range(2)]
    return Kept(data, pd.DataFrame(rows))


def _row(patient: int, visit: int, name: str, sha256: str) -> dict[str, Any]:
    return {
        "id": f"sub-{patient}_ses-{visit}_FLAIR",
        "subject": f"sub-{patient}",
        "session": f"ses-{visit}",
        "date": f"202{visit}-03-01",
        **{"modality": "MR", "contrast": "FLAIR", "scanner": f"scanner-{patient % 3}", "protocol": "protocol-a"},
        **{
            "shape": [40, 40, 40],
            "spacing_mm": [6.0, 6.0, 6.0],
            "flags": [],
            "mask": None,
            "difference": None,
            "since": None,
            "acquired": None,
            "changed": None,
        },
        **{"path": f"scans/{name}", "sha256": sha256},
    }


@pytest.fixture(scope="module")
def unchanged(kept: Kept) -> dict[str, Any]:
    return kept.keys(Config.model_validate(SMALL))


@pytest.fixture(scope="module")
def template(unchanged: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's template with another brightness in one voxel."""
    made = volume.read_volume(unchanged["aligned"][0] / "template.nii.gz")
    voxels = made.voxels.copy()
    voxels[0, 0, 0] += 0.5
    path = tmp_path_factory.mktemp("template") / "other.nii.gz"
    volume.write_volume(path, volume.Volume(voxels, made.affine))
    return path


def test_the_page_names_every_setting_and_no_other() -> None:
    assert list(DOCUMENTED) == settings()


@pytest.mark.long
def test_every_setting_renews_what_the_page_says(kept: Kept, unchanged: dict[str, Any], template: Path) -> None:
    found = {}
    for key in settings():
        renewed = kept.keys(changed(key, template))
        found[key] = {what for what in unchanged if renewed[what] != unchanged[what]}
    assert found == DOCUMENTED


@pytest.mark.parametrize(
    ("column", "value", "renews"),
    [
        ("sha256", "0" * 64, {"aligned", "model", "embedded", "measured"}),
        ("mask", "mask.nii.gz", {"aligned", "model", "embedded", "measured"}),
        ("flags", ["inverted"], {"aligned", "model", "embedded", "measured"}),
        ("flags", ["wrong_patient"], set()),
        ("contrast", "T1w", {"aligned", "model", "embedded", "measured"}),
        ("scanner", "scanner-9", {"model", "measured"}),
        ("protocol", "protocol-b", {"model"}),
    ],
)
def test_what_becomes_of_one_scan_renews_what_depends_on_it(
    kept: Kept, unchanged: dict[str, Any], column: str, value: Any, renews: set[str]
) -> None:
    scans = kept._scans.copy()
    scans.at[0, column] = value
    first = volume.read_volume(kept._data / scans.path[0])
    volume.write_volume(kept._data / "mask.nii.gz", volume.Volume((first.voxels > 0).astype(np.int16), first.affine))
    renewed = Kept(kept._data, scans).keys(Config.model_validate(SMALL))
    assert {what for what in unchanged if renewed[what] != unchanged[what]} - {"paired"} == renews
    kept.keys(Config.model_validate(SMALL))  # as it was before
