"""Studies of simulated patients whose two visits went through ingest, with reports whose change map is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siamese_med.dicom_export import export
from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion.privacy import reidentification
from siamese_med.pipeline import stages
from siamese_med.reporting.data.report_content import ReportPair
from siamese_med.reporting.write import json_tsv
from siamese_med.simulation import dicom_series
from siamese_med.simulation.dicom_series import PatientIdentity, SimulatedExamination
from siamese_med.simulation.scanner import Scanner
from siamese_med.study.component import Component
from siamese_med.study.config import Config, IngestConfig
from siamese_med.study.pair_score import PairScore, ReferencePairs
from siamese_med.study.tables import Study
from tests.ingestion import children

Matrix = np.ndarray
MODEL = "flair-model-0123456789abcdef"
RADIUS_MM = 9.0
PAGE = "<!doctype html><html lang='en'><head><title>t</title></head><body><p>A page.</p></body></html>"

SCORE = PairScore(
    interval_days=182,
    kind="follow_up",
    split="new",
    verdict="changed",
    similarity=0.9876543210123456,
    distance=1 / 3,
    change_z=-1.2345678901234567,
    change_p=1.23456789e-17,
    change_p_adjusted=2.5e-17,
    change_sign=1.0,
    volume_ml=3.0536280592892785,
    growth_ml=-2 / 3,
    growth_p=0.5,
    smallest_detectable_ml=0.75,
    reference=ReferencePairs("FLAIR", "rescans", 8),
    ncc=0.9,
    ncc_highpass=0.5,
    mutual_information=1.2,
    ssim=0.8,
    pair_quality=0.4,
)
NUMBERS = ReportPair(
    number=1,
    role="newest",
    earlier_session="ses-01",
    later_session="ses-02",
    earlier_contrast="FLAIR",
    later_contrast="FLAIR",
    contrast="FLAIR",
    status="changed",
    reasons=(),
    identity_judged=True,
    score=SCORE,
)


def reported(**fields: Any) -> ReportPair:
    """NUMBERS with some fields replaced, of the pair or of its score."""
    own = {name: value for name, value in fields.items() if name in ReportPair.__dataclass_fields__}
    return replace(NUMBERS, **own, score=SCORE.with_values({name: fields[name] for name in fields.keys() - own.keys()}))


def rotation(degrees: tuple[float, float, float]) -> Matrix:
    """A turn about x, then y, then z (4x4)."""
    turned = np.eye(4)
    for axis, angle in enumerate(np.radians(degrees)):
        one = np.eye(4)
        first, second = ((1, 2), (2, 0), (0, 1))[axis]
        one[first, first] = one[second, second] = np.cos(angle)
        one[first, second], one[second, first] = -np.sin(angle), np.sin(angle)
        turned = one @ turned
    return turned


TRANSFORM = rotation((4.0, -7.0, 11.0))
TRANSFORM[:3, 3] = (3.5, -6.0, 8.25)
"""The earlier scan's mm to the later one's."""

PLANES = {
    "axial": np.diag([-1.0, -1.0, 1.0]),  # columns to the left, rows to the back, slices to the head
    "sagittal": np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),  # slices to the left
    "oblique": rotation((20.0, -15.0, 30.0))[:3, :3] @ np.diag([-1.0, -1.0, 1.0]),
}
"""World axes (RAS+, columns of the matrix) of a picture's columns, rows and slices."""

SHAPE, SPACING = (44, 48, 20), (1.5, 1.25, 3.0)
MARKER = np.array([22.0, -9.0, 6.0])
"""Where the change lies in the later scan: 22 mm to the patient's right."""


def scan(plane: str, seed: int) -> Volume:
    """Noise on a grid of that plane around the origin."""
    affine = np.eye(4)
    affine[:3, :3] = PLANES[plane] * SPACING
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return Volume(np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.int16), affine)


def change_map() -> Volume:
    """A ball around the marker in the earlier scan's space, whose surface is at the threshold; the ramp is steep."""
    edge = 2.0
    affine = volume.make_centred_affine((70, 70, 70), edge)
    places = np.indices((70, 70, 70)).reshape(3, -1)
    later = (TRANSFORM @ affine @ np.vstack([places, np.ones(places.shape[1])]))[:3]
    distance = np.linalg.norm(later - MARKER[:, None], axis=0).reshape(70, 70, 70)
    return Volume(np.clip(0.95 + 0.02 * (RADIUS_MM - distance), 0, 1).astype(np.float32), affine)


@dataclass
class Hospital:
    """An export of DICOM files, a study of it, and reports on the study."""

    root: Path
    study: Study

    @property
    def source(self) -> Path:
        """The folder that was exported."""
        return self.root / "export"

    def visit(self, who: str, number: int, plane: str, **identity: str) -> list[Path]:
        """Export one visit of a patient; returns its files."""
        person = replace(PatientIdentity(f"{who}^Anna", f"PAT-{who}", "19610203", "F"), **identity)
        machine = Scanner(
            "SIM 1", "Simulated", plane, 1.5, 3.0, "FLAIR", (), np.zeros((1, 1, 1), np.float32), 0.0, 1.0, (1.0, 0.0)
        )
        when = SimulatedExamination(f"202{number}0304", f"{who} {number}")
        folder = self.source / who / str(number)
        return dicom_series.write_dicom_series(folder, scan(plane, number), machine, person, when)

    def ingest(self) -> None:
        """Ingest the export."""
        with children.kept():
            stages.ingest(self.source, self.study)

    def scans(self, who: str) -> list[str]:
        """The scans of a patient in the order of visits."""
        rows = stages.scans(self.study)
        named = {subject: self.identifier(subject) for subject in set(rows.subject)}
        return sorted(rows[rows.subject.map(named) == f"PAT-{who}"].id)

    def identifier(self, subject: str) -> str:
        """The PatientID behind a subject."""
        secret = self.study.config.ingest.secret_file
        return str(
            reidentification.reveal_label(subject, self.study.catalogue_url, secret)["subjects"][0]["patient_id"]
        )

    def report(self, earlier: str, later: str, *more: ReportPair, withheld: bool = False, **fields: Any) -> ReportPair:
        """Write a patient's report on a pair, with the known map unless `fields` say otherwise."""
        shown: dict[str, Any] = {"map": "maps/change.nii.gz", "transform": tuple(map(tuple, TRANSFORM.tolist()))}
        session = later.split("_")[1]
        pair = reported(later_session=session, scan_a=earlier, scan_b=later, **{**shown, **fields})
        folder = self.study.reports / later.split("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            {"claim": {"withheld": withheld}, "pairs": [json_tsv.pair_values(one) for one in (pair, *more)]}
        )
        (folder / "report.json").write_text(text)
        (folder / "report.html").write_text(PAGE)
        return pair

    def export(self, folder: str = "back") -> tuple[Path, dict[str, Any]]:
        """Write the objects; returns where, and what was said of it."""
        facts = export.write_dicom_export(self.root / folder, self.source, self.study, MODEL, stages.scans(self.study))
        return self.root / folder, facts

    def objects(self, scan_id: str, folder: str = "back") -> dict[str, Path]:
        """The objects of a follow-up, by kind."""
        subject, session = scan_id.split("_")[:2]
        return {path.name.split("-")[0]: path for path in (self.root / folder / subject / session).glob("*.dcm")}


@pytest.fixture(scope="session", autouse=True)
def no_child_left() -> Iterator[None]:
    """Worker processes that wait for another ingest end with the tests."""
    yield
    children.end()


@pytest.fixture(scope="session")
def new_hospital(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Hospital]:
    """Makes hospitals without patients."""
    secret = tmp_path_factory.mktemp("secret") / "secret"
    secret.write_bytes(b"0123456789abcdef0123456789abcdef")
    secret.chmod(0o600)

    def make() -> Hospital:
        root = tmp_path_factory.mktemp("hospital")
        config = Config(ingest=IngestConfig(secret_file=secret, workers=1))
        hospital = Hospital(root, Study(root / "data", root / "reports", config))
        volume.write_volume(root / "data" / "maps" / "change.nii.gz", change_map())
        return hospital

    return make


@pytest.fixture(scope="session")
def hospital(new_hospital: Callable[[], Hospital]) -> Hospital:
    """Three patients, each scanned twice in a plane of their own, all changed alike; exported."""
    made = new_hospital()
    for who in PLANES:
        for number in (1, 2):
            made.visit(who, number, who)
    made.ingest()
    for who in PLANES:
        made.report(*made.scans(who))
    _, facts = made.export()
    assert facts == {"objects": 9, "patients": 3, "left_out": {}}
    return made


@pytest.fixture
def two_places(hospital: Hospital) -> dict[str, Any]:
    """Fields of a pair whose map has a finding at the marker, and a smaller place elsewhere that is none."""
    known = change_map()
    grid = np.moveaxis(np.indices(known.voxels.shape), 0, -1)
    away = grid @ (TRANSFORM @ known.affine)[:3, :3].T + (TRANSFORM @ known.affine)[:3, 3] - (-15.0, 10.0, 0.0)
    voxels = np.maximum(known.voxels, np.where(np.linalg.norm(away, axis=-1) < 5, 0.96, 0)).astype(np.float32)
    volume.write_volume(hospital.study.data / "maps" / "two.nii.gz", Volume(voxels, known.affine))
    centre = tuple((np.linalg.inv(TRANSFORM) @ [*MARKER, 1])[:3].round(1).tolist())
    part = Component("enlarging", 2.5, 1, 0.001, (None,) * 3, centre, finding=5)
    return {"map": "maps/two.nii.gz", "components": (part, replace(part, kind="may_be_chance", finding=None))}
