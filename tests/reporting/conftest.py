"""A simulated study as the score and train stages leave it: no scan and no network, every number drawn with a seed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.reporting.write import study_pages
from siamese_med.reporting.write.study_pages import ReportInputs
from siamese_med.study.config import ReportConfig
from siamese_med.study.lesion import LesionState
from siamese_med.study.prepared_scans import ALIGNMENT_COLUMNS
from siamese_med.study.tables import (
    NO_REPORT_EXTRAS,
    OWNER_COLUMNS,
    SCAN_COLUMNS,
    SCORE_COLUMNS,
    IngestAccount,
    ReportExtras,
)
from tests import trained
from tests.reporting import devtools
from tests.reporting.devtools import Chromium

HOSTILE = "</script><script>document.title='owned'</script>"
SPACING_MM = 1.5


def pseudonym(name: str) -> str:
    """As long as a real one: 26 letters and digits."""
    return "sub-" + (name.upper() + "Q7XK2M9RT4VW8BZ3HJ6NPD5CYF")[:26]


@cache
def head() -> NDArray[np.float32]:
    """A real template's head at 1.5 mm, axes to the right, front and top, 0 to 1."""
    from nilearn.datasets import load_mni152_template
    from scipy.ndimage import zoom

    template = load_mni152_template(resolution=2)
    voxels = zoom(np.asarray(template.dataobj, dtype=np.float32), 2 / SPACING_MM, order=1)
    return np.asarray(voxels / voxels.max(), dtype=np.float32)


def displayed(voxels: NDArray[Any], plane: str, index: int) -> NDArray[Any]:
    """A slice in display orientation: patient's right or front at the left edge, front or top at the top."""
    if plane == "axial":
        return voxels[::-1, ::-1, index].T
    if plane == "coronal":
        return voxels[::-1, index, ::-1].T
    return voxels[index, ::-1, ::-1].T


def write_pictures(path: Path, lesion: float, seed: int) -> None:
    """The npz of one pair: a bright spot of strength `lesion` in the left hemisphere of the later scan."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_draw_pictures(lesion, seed))


@cache
def _draw_pictures(lesion: float, seed: int) -> bytes:
    """Drawn once for all studies that a test process builds."""
    random = np.random.default_rng(seed)
    anatomy = head()
    centre = np.array(anatomy.shape) * (0.35, 0.6, 0.6)
    choice = [
        ("axial", 0.6, "strongest change"),
        ("coronal", 0.6, "strongest change"),
        ("sagittal", 0.35, "strongest change"),
    ]
    choice += [("axial", 0.45, "fixed"), ("axial", 0.7, "fixed"), ("coronal", 0.5, "fixed")]
    side = max(anatomy.shape)
    layers: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in ("earlier", "later", "difference", "change")}
    for plane, share, _ in choice:
        axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
        index = int(share * anatomy.shape[axis])
        ends = [slice(index, index + 1) if n == axis else slice(0, length) for n, length in enumerate(anatomy.shape)]
        thin = anatomy[tuple(ends)]  # the rest of the head is not shown
        apart = [(place - middle) ** 2 for place, middle in zip(np.ogrid[tuple(ends)], centre, strict=True)]
        spot = np.exp(-(apart[0] + apart[1] + apart[2]) / 18.0)
        first, second = (thin * 0.8 + random.normal(0, 0.02, thin.shape) for _ in range(2))
        second = second + lesion * spot
        difference = second - first
        change = 1 / (1 + np.exp(-(30 * lesion * spot - 6)))
        for name, voxels in (("earlier", first * 255), ("later", second * 255), ("difference", 128 + difference * 255)):
            layers[name].append(squared(displayed(voxels, plane, 0), side, 128 if name == "difference" else 0))
        layers["change"].append(squared(displayed(change * 255, plane, 0), side, 0))
    written = BytesIO()
    np.savez_compressed(
        written,
        plane=np.array([plane for plane, _, _ in choice]),
        position_mm=np.array([100 * (share - 0.4) for _, share, _ in choice]),
        chosen=np.array([word for _, _, word in choice]),
        spacing_mm=np.float64(SPACING_MM),
        **{name: np.stack(slices) for name, slices in layers.items()},
    )
    return written.getvalue()


def squared(pixels: NDArray[Any], side: int, fill: int) -> NDArray[np.uint8]:
    """Centred in a square of `side` pixels."""
    canvas = np.full((side, side), fill, np.uint8)
    top, left = ((side - edge) // 2 for edge in pixels.shape)
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels.clip(0, 255)
    return canvas


@dataclass
class Inputs:
    """Everything that write_reports takes."""

    reports: Path
    data: Path
    model: Path
    scans: pd.DataFrame
    scores: pd.DataFrame
    alignments: pd.DataFrame
    owners: pd.DataFrame
    account: IngestAccount
    config: ReportConfig
    extras: ReportExtras = NO_REPORT_EXTRAS
    lesions: Sequence[LesionState] = ()

    def write(self) -> Path:
        """Write the pages; returns the index."""
        return study_pages.write_reports(ReportInputs(**vars(self)))

    def only(self, *names: str) -> Inputs:
        """The same study with some of its patients."""
        subjects = [pseudonym(name) for name in names]
        columns = {"scans": "subject", "scores": "subject_a", "owners": "subject"}
        frames = {table: getattr(self, table) for table in columns}
        kept = {table: frame[frame[columns[table]].isin(subjects)].copy() for table, frame in frames.items()}
        return replace(self, **{table: frame.reset_index(drop=True) for table, frame in kept.items()})


MARKER_MM = (40.0, 30.0, 35.0)
"""Where `add_images` puts its bright ball: to the patient's right, in front, high up."""


def add_images(study: Inputs, name: str) -> None:
    """Write the two scans of a patient and the change map of the only pair.

    The later scan lies turned by ten degrees and shifted, as its transform says, and is inverted, as its flag says; a
    ball is bright in it and in the map.
    """
    (row,) = study.scores.index[study.scores["subject_a"] == pseudonym(name)]
    volumes, turn = _draw_images()
    paths = study.scans.set_index("id")["path"]
    path = f"scores/{name}_change.nii.gz"
    for side in ("scan_a", "scan_b"):
        _put(study.data / paths[study.scores.loc[row, side]], volumes[side])
    _put(study.data / path, volumes["map"])
    study.scores["map"] = study.scores["map"].astype(object)
    study.scores.loc[row, "map"] = path
    study.scores["transform"] = [turn.tolist() if at == row else None for at in study.scores.index]


def _put(path: Path, content: bytes) -> None:
    """As the package writes: a new file in the place of an old one, which keeps its content where it is linked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)


@cache
def _draw_images() -> tuple[dict[str, bytes], NDArray[Any]]:
    """The NIfTI files of `add_images` and the later scan's transform, made once for all studies of a test process."""
    shape = np.array(head().shape)
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = -SPACING_MM * (shape - 1) / 2
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(np.pi / 18), -np.sin(np.pi / 18)], [np.sin(np.pi / 18), np.cos(np.pi / 18)]]
    turn[:3, 3] = (6, -4, 9)
    places = np.moveaxis(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")), 0, -1) @ affine[:3, :3]
    ball = np.linalg.norm(places + affine[:3, 3] - MARKER_MM, axis=-1) < 16
    anatomy = np.round(head() * 600).astype(np.int16)
    volumes = {
        "scan_a": Volume(anatomy, affine),
        "scan_b": Volume(np.where(ball, 0, 1500 - anatomy).astype(np.int16), turn @ affine),
        "map": Volume(ball.astype(np.float32), affine),
    }
    with TemporaryDirectory() as folder:
        place = Path(folder) / "one.nii.gz"
        written = {}
        for name, one in volumes.items():
            volume.write_volume(place, one)
            written[name] = place.read_bytes()
    return written, turn


class Builder:
    """Collects rows of the three tables, and writes the pictures that they name."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.scans: list[dict[str, Any]] = []
        self.scores: list[dict[str, Any]] = []
        self.alignments: list[dict[str, Any]] = []
        self.owners: list[dict[str, Any]] = []

    def visits(self, subject: str, count: int, **fields: Any) -> None:
        """Scans half a year apart, two scanners; `fields` replace what every scan says."""
        self.scans_of(subject, range(1, count + 1), "FLAIR", **fields)

    def scans_of(self, subject: str, visits: Iterable[int], suffix: str, **fields: Any) -> None:
        """A scan of each of these visits, whose id ends in `suffix`: a contrast, unless `fields` say another one."""
        for number in visits:
            name = f"{subject}_ses-{number}_{suffix}"
            scan = {
                "id": name,
                "subject": subject,
                "session": f"ses-{number}",
                "date": visit_day(number).isoformat(),
                "modality": "MR",
                "contrast": suffix,
                "scanner": "scanner-3f9a1c" if number < 4 else "scanner-b2207d",
                "protocol": "protocol-77aa01",
                "shape": [256, 256, 48],
                "spacing_mm": [0.9375, 0.9375, 3.0],
                "affine": np.eye(4).tolist(),
                "path": f"scans/{name}.nii.gz",
                "sha256": hashlib.sha256(name.encode()).hexdigest(),
                "flags": ["inverted"] if number == 2 else [],
                "source": "dicom",
            }
            self.scans.append({**scan, **fields})
            quality = 0.93 - 0.01 * number
            row = {
                "scan": name,
                "matrix": np.eye(4).tolist(),
                "quality": quality,
                "ok": True,
                "volume": f"prepared/{name}.npy",
                "brain_ml": 1231.0 - 4 * number,
                "ventricles_ml": None if number == 5 else 20.3 + 2.6 * number,
            }
            self.alignments.append(row)
            nobody = {"alarm": False, "owner": None, "owner_evidence": float("nan")}
            self.owners.append({"scan": name, "subject": subject, "evidence": 2.0, **nobody})

    def volumes(self, *subjects: str) -> None:
        """The aligned volumes of these patients: the template's head, as coarse as training sees it."""
        for row in self.alignments:
            if row["scan"].split("_")[0] in subjects:
                path = self.data / row["volume"]
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, head()[::2, ::2, ::2].astype(np.float16) * 1.4)

    def alarm(self, subject: str, visit: int, evidence: float, owner: str | None, owner_evidence: float) -> None:
        """Put one scan under the wrong-patient alarm."""
        scan = f"{subject}_ses-{visit}_FLAIR"
        raised = {"evidence": evidence, "alarm": True, "owner": owner, "owner_evidence": owner_evidence}
        next(row for row in self.owners if row["scan"] == scan).update(raised)

    def pair(
        self,
        subject: str,
        first: int,
        second: int,
        z: float,
        pictures: bool = True,
        suffix: str = "FLAIR",
        **fields: Any,
    ) -> None:
        """A same-patient pair whose verdict follows from z; `fields` replace what it says."""
        changed = z > 1.9
        path = f"scores/pictures/{subject}_{first}_{second}_{suffix}.npz"
        seed = crc32(path.encode())
        random = np.random.default_rng(seed)
        row = dict.fromkeys(SCORE_COLUMNS)
        row |= {
            "scan_a": f"{subject}_ses-{first}_{suffix}",
            "scan_b": f"{subject}_ses-{second}_{suffix}",
            "subject_a": subject,
            "subject_b": subject,
            "interval_days": float((visit_day(second) - visit_day(first)).days),
            "kind": "follow_up",
            "split": "test",
            "comparable": True,
            "reasons": [],
            "similarity": 0.9 + 0.09 * random.random(),
            "distance": 0.2 + 0.1 * random.random(),
            "change_z": z,
            "change_p": 0.0004 if z > 4 else 0.011 if changed else 0.41,
            "change_p_adjusted": 0.0012 if z > 4 else 0.033 if changed else 1.0,
            "change_sign": 1.0,
            "components": COMPONENTS if changed else [],
            "reference": {"stratum": f"MR {suffix}, other scanner", "source": "synthesised", "n": 64},
            "volume_ml": max(0.02, 0.31 * z),
            "beyond_rescan_ml": 0.29 * z if changed else 0.0,
            "growth_ml": 0.4 if changed else -0.1,
            "growth_p": 0.2,
            "smallest_detectable_ml": 0.62 + 0.1 * random.random(),
            "verdict": "changed" if changed else "no_change",
            "ncc": 0.97,
            "ncc_highpass": 0.81 + 0.05 * random.random(),
            "mutual_information": 1.12 + 0.05 * random.random(),
            "ssim": 0.9,
            "pair_quality": 0.96,
            "transform": np.eye(4).tolist(),
            "pictures": path if pictures else None,
        }
        if pictures:
            write_pictures(self.data / path, 0.35 if changed else 0.0, seed)
        self.scores.append({**row, **fields})


COMPONENTS = [
    {
        "kind": "new",
        "volume_ml": 1.2,
        "sign": 1,
        "p": 0.0003,
        "position_mm": [1, 2, 3],
        "earlier_mm": [11.2, -24.0, 30],
        "finding": 1,
    },
    {
        "kind": "shrinking",
        "volume_ml": 0.3,
        "sign": -1,
        "p": 0.02,
        "position_mm": [4, 5, 6],
        "earlier_mm": [40, 5, -6],
        "finding": 2,
    },
]


def visit_day(number: int) -> date:
    """About half a year between visits."""
    return date(2031, 3, 4) + timedelta(days=183 * (number - 1) + 7 * (number % 3))


def write_model(folder: Path, best: str = "ncc_highpass", failed: tuple[str, ...] = (), **changes: Any) -> None:
    """A model folder with every file that the pages read; `failed`: shortcuts from which identity can be told."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(4)
    same = np.repeat([True, False], [70, 140])
    distance = np.where(same, random.normal(0.35, 0.12, 210), random.normal(0.95, 0.22, 210)).clip(0)
    table = pd.DataFrame(
        {"split": np.where(np.arange(210) % 3 == 0, "validation", "test"), "same": same, "distance": distance}
    )
    table["similarity"] = 1 / (1 + np.exp(12 * (distance - 0.62)))
    for name, noise in (("ncc", 0.7), ("ncc_highpass", 0.25), ("mutual_information", 0.4), ("ssim", 0.5)):
        table[name] = same + random.normal(0, noise, 210)
    table.to_parquet(folder / "reference.parquet", index=False)
    _write_json(folder / "model.json", trained.model_json(**changes))
    _write_json(folder / "metrics.json", trained.metrics_json(best, failed))
    epochs = np.arange(1, 13)
    log = {"epoch": epochs, "train_loss": 2.4 * 0.8**epochs, "validation_loss": 2.5 * 0.83**epochs + 0.2}
    pd.DataFrame({**log, "validation_auc": 1 - 0.3 * 0.7**epochs, "seconds": 4.0 * epochs}).to_csv(
        folder / "training_log.csv", index=False
    )
    _write_gallery(folder / "gallery.npz")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _write_gallery(path: Path) -> None:
    path.write_bytes(_draw_gallery())


@cache
def _draw_gallery() -> bytes:
    anatomy = head()
    slices = [squared(displayed(anatomy * 220, "axial", 50 + step), 158, 0)[16:142, 16:142] for step in range(9)]
    same = np.arange(8) % 2 == 0
    later = np.stack([slices[step if same[step] else step + 1] for step in range(8)])
    distance = np.where(same, 0.31, 0.94) + np.arange(8) * 0.02
    similarity = np.where(same, 0.97, 0.03)
    written = BytesIO()
    np.savez_compressed(written, a=np.stack(slices[:8]), b=later, same=same, distance=distance, similarity=similarity)
    return written.getvalue()


def _cohort(builder: Builder) -> None:
    changed, stable, mixed, unlike, single, bare = map(
        pseudonym, ("changed", "stable", "mixed", "unlike", "single", "bare")
    )
    builder.visits(changed, 6)
    for step, z in enumerate((0.3, -0.4, 2.6, 0.9, 5.7), start=1):
        builder.pair(changed, step, step + 1, z)
    builder.pair(changed, 1, 6, 8.4)
    builder.pair(changed, 2, 6, 7.9, pictures=False)
    builder.visits(stable, 3)
    for first, second, z in ((1, 2, 0.2), (2, 3, -0.7), (1, 3, 0.1)):
        builder.pair(stable, first, second, z, split="train")
    builder.visits(mixed, 2)
    builder.pair(mixed, 1, 2, 6.2, similarity=0.021, distance=1.31)
    builder.alarm(mixed, 2, -3.4, stable, 5.2)
    builder.volumes(mixed, stable)
    builder.visits(unlike, 3)
    builder.pair(unlike, 1, 2, 0.4)
    builder.scans[-1]["contrast"] = "T1w"
    missing = UNMEASURED
    builder.pair(unlike, 2, 3, 0.0, pictures=False, similarity=0.1, **not_comparable("other_contrast"), **missing)
    builder.visits(single, 1)
    builder.visits(
        bare, 2, date=None, scanner="unknown", protocol=HOSTILE, contrast=HOSTILE, flags=[HOSTILE], sha256=None
    )
    nothing = dict.fromkeys(
        ("similarity", "distance", "ncc", "ncc_highpass", "pair_quality", "interval_days"), float("nan")
    )
    builder.pair(
        bare,
        1,
        2,
        0.0,
        pictures=False,
        verdict="not_comparable",
        comparable=False,
        reasons=[HOSTILE],
        **missing,
        **nothing,
    )


def several_contrasts(builder: Builder) -> None:
    """Four patients: a change in one contrast of four, green by one of two, nothing alike, nothing known."""
    several, partly, nothing, unknown = map(pseudonym, ("several", "partly", "nothing", "unknown"))
    builder.scans_of(several, (1, 2, 3), "T1w")
    builder.scans_of(several, (2, 3), "T1wCE")
    builder.scans_of(several, (1,), "T2w")
    builder.scans_of(several, (1, 2, 3), "FLAIR")
    for first, second, z in ((1, 2, 0.2), (2, 3, -0.4), (1, 3, 0.3)):
        builder.pair(several, first, second, z, suffix="T1w")
    for first, second, z in ((1, 2, 0.6), (2, 3, 3.1), (1, 3, 4.8)):
        builder.pair(several, first, second, z, suffix="FLAIR")
    apart = not_comparable("little_overlap") | UNMEASURED
    builder.pair(several, 2, 3, 0.0, pictures=False, suffix="T1wCE", **{**apart, "similarity": float("nan")})
    for suffix in ("T1w", "FLAIR"):
        builder.scans_of(partly, (1, 2), suffix)
    builder.pair(partly, 1, 2, 0.1, suffix="T1w")
    builder.pair(partly, 1, 2, 0.0, pictures=False, suffix="FLAIR", **apart)
    builder.scans_of(nothing, (1,), "T1w")
    builder.scans_of(nothing, (1, 2), "T2w", contrast="T2w")
    builder.scans[-1] |= {"contrast": "FLAIR"}
    builder.scans_of(nothing, (1,), "PDw")
    unlike = not_comparable("other_contrast") | UNMEASURED
    for one in ("T1w", "PDw"):
        builder.pair(nothing, 1, 2, 0.0, pictures=False, suffix="T2w", **unlike)
        builder.scores[-1]["scan_a"] = f"{nothing}_ses-1_{one}"
    builder.scans_of(unknown, (1, 2), "MR", modality="unknown", contrast="unknown")
    builder.pair(unknown, 1, 2, 0.2, suffix="MR", reference={**UNKNOWN_STRATUM})


UNKNOWN_STRATUM = {"stratum": "unknown unknown, other scanner", "source": "synthesised", "n": 64}
"""What scans of a manifest without contrasts are held against."""


def not_comparable(reason: str) -> dict[str, Any]:
    """What a pair without a verdict says."""
    return {"verdict": "not_comparable", "comparable": False, "reasons": [reason]}


UNMEASURED: dict[str, Any] = {
    **dict.fromkeys(
        ("change_z", "change_p", "change_p_adjusted", "change_sign", "volume_ml", "smallest_detectable_ml"),
        float("nan"),
    ),
    "components": [],
    "reference": None,
}
"""What a pair says that was not measured."""


def build(
    folder: Path, config: ReportConfig | None = None, fill: Callable[[Builder], None] = _cohort, **model: Any
) -> Inputs:
    """The simulated study: six patients, one for each thing that a page can say; `model` goes into model.json."""
    builder = Builder(folder / "data")
    fill(builder)
    write_model(folder / "data" / "models" / "m", **model)
    reasons = {"non_image": 9, "too_few_slices": 4, "duplicate_position": 2, "truncated_pixels": 1}
    return Inputs(
        reports=folder / "reports",
        data=folder / "data",
        model=folder / "data" / "models" / "m",
        scans=pd.DataFrame(builder.scans, columns=list(SCAN_COLUMNS)),
        scores=pd.DataFrame(builder.scores, columns=list(SCORE_COLUMNS)),
        alignments=pd.DataFrame(builder.alignments, columns=list(ALIGNMENT_COLUMNS)),
        owners=pd.DataFrame(builder.owners, columns=list(OWNER_COLUMNS)),
        account=IngestAccount(files_seen=1834, ingested=1801, skipped=9, duplicate=17, quarantined=7, reasons=reasons),
        config=config or ReportConfig(title=f"Simulated study {HOSTILE}"[:80], pictures_per_pair=5),
    )


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """The simulated study with its pages; tests must not write into it."""
    inputs = build(tmp_path_factory.mktemp("study"))
    inputs.write()
    return inputs


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Patients with several contrasts, and their pages; tests must not write into it."""
    kinds = ("MR T1w", "MR T1wCE", "MR FLAIR", "unknown unknown")
    floor = trained.noise_floor(kinds=kinds)
    inputs = build(
        tmp_path_factory.mktemp("several"),
        ReportConfig(title="Several contrasts", pictures_per_pair=5),
        several_contrasts,
        contrasts=["FLAIR", "T1w", "T1wCE"],
        change_reference=floor.to_json_object(),
        growth_reference=floor.to_json_object(),
    )
    inputs.write()
    return inputs


@pytest.fixture
def study(written: Inputs, tmp_path: Path) -> Inputs:
    """A copy of the simulated study of one's own, without pages yet."""
    data = shutil.copytree(written.data, tmp_path / "data")
    frames = {name: getattr(written, name).copy() for name in ("scans", "scores", "alignments", "owners")}
    return replace(written, reports=tmp_path / "reports", data=data, model=data / "models" / "m", **frames)


PageReader = Callable[[str], str]


@pytest.fixture(scope="session")
def page(written: Inputs) -> PageReader:
    """A page's text by the name its patient was made with, or 'index' or 'model'."""

    def read(name: str) -> str:
        pages = {"index": "index.html", "model": "model.html"}
        return (written.reports / pages.get(name, f"{pseudonym(name)}/report.html")).read_text(encoding="utf-8")

    return read


@pytest.fixture(scope="session")
def chromium() -> Chromium:
    """One browser for all pages."""
    return devtools.shared()


@pytest.fixture(scope="session", autouse=True)
def no_browser_left() -> Iterator[None]:
    """The browser ends with the tests, whoever of them asked for it first."""
    yield
    devtools.end_shared()


@pytest.fixture(scope="session")
def viewer_page(written: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The viewer of a pair whose later scan lies turned and shifted, with a bright ball in it."""
    folder = tmp_path_factory.mktemp("viewer")
    study = replace(written.only("mixed"), reports=folder / "reports", extras=ReportExtras(viewer=True))
    study.data = folder / "data"
    add_images(study, "mixed")
    study.write()
    return study.reports / pseudonym("mixed") / "viewer-1.html"
