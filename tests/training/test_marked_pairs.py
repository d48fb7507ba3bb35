"""The change head learns from marked pairs of training patients, from nobody else's, and without any as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric import Fabric
from scipy.ndimage import gaussian_filter

from siamese_med.imaging.volume import Volume, write_volume
from siamese_med.network import atlas
from siamese_med.network.siamese import SiameseNetwork
from siamese_med.scoring.change.pair_registration import PairSpace, RegisteredPair
from siamese_med.study.config import Config, ScoreConfig, TrainConfig
from siamese_med.study.prepared_scans import ALIGNMENT_COLUMNS, PreparedStudy
from siamese_med.study.tables import PAIR_COLUMNS, SCAN_COLUMNS, Study, build_scan_table
from siamese_med.study.vocabulary import SPLITS, PairKind
from siamese_med.training import change_training, marked_pairs, synthetic_follow_ups, train_model, training_scans
from siamese_med.training.marked_pairs import MarkedPair
from siamese_med.training.synthetic_follow_ups import ChangeSource

BRIEF = TrainConfig(
    width=4, embedding_size=4, change_steps=1, change_patches=1, change_learning_rate=1e-2, change_marked_share=1.0
)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
EDGE = 28
SPLIT_OF = dict(zip(("sub-a", "sub-b", "sub-c"), SPLITS, strict=True))


def scan_row(subject: str, visit: int, contrast: str = "FLAIR", **known: Any) -> dict[str, Any]:
    name = f"{subject}_ses-{visit:02d}_{contrast}"
    return {
        **dict.fromkeys(SCAN_COLUMNS), "id": name, "subject": subject, "session": f"ses-{visit:02d}",
        "date": f"202{visit}-01-01", "modality": "MR", "contrast": contrast, "scanner": "one", "flags": [],
        "path": f"{name}.nii.gz", "sha256": name, **known,
    }  # fmt: skip


def pair_row(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    known = {"scan_a": earlier["id"], "scan_b": later["id"], "kind": str(PairKind.FOLLOW_UP)}
    subject = earlier["subject"]
    return {
        **dict.fromkeys(PAIR_COLUMNS), **known, "subject_a": subject, "subject_b": subject, "split": SPLIT_OF[subject]
    }  # fmt: skip


def split(scans: pd.DataFrame) -> pd.DataFrame:
    return scans.assign(split=scans.subject.map(SPLIT_OF))


def test_since_is_the_visit_before_with_a_scan_of_the_contrast_unless_it_is_said() -> None:
    rows = [
        scan_row("sub-a", 1),
        scan_row("sub-a", 2, "T1w"),
        scan_row("sub-a", 3, difference="m"),
        scan_row("sub-a", 4, difference="m", since="ses-01"),
        scan_row("sub-b", 1, difference="m"),
    ]
    filled = training_scans.fill_in_earlier_visits(build_scan_table(rows))
    assert list(filled.since) == [None, None, "ses-01", "ses-01", None]


def test_pairs_of_training_patients_alone_are_found_and_only_since_the_visit_that_is_meant() -> None:
    rows = {
        subject: [scan_row(subject, 1), scan_row(subject, 2), scan_row(subject, 3, difference="m")]
        for subject in SPLIT_OF
    }
    rows["sub-a"][2]["since"] = "ses-01"
    pairs = pd.DataFrame([pair_row(a, b) for one in rows.values() for n, b in enumerate(one) for a in one[:n]])
    table = training_scans.fill_in_earlier_visits(build_scan_table([row for one in rows.values() for row in one]))
    found = marked_pairs.find_marked_pairs(split(table), pairs)
    assert found == [MarkedPair("sub-a_ses-01_FLAIR", "sub-a_ses-03_FLAIR", "m")]


def test_marks_lie_where_the_later_scan_has_them_and_say_what_became_darker() -> None:
    shape = (20, 20, 20)
    a, b = torch.ones(shape), torch.ones(shape)
    b[4:7, 4:7, 4:7], b[12:15, 12:15, 12:15] = 1.5, 0.5
    b[4, 4, 4] = 0.9  # noise: the part as a whole became brighter
    moved = np.eye(4)
    moved[:3, 3] = (6, 0, 0)  # the later scan lies 6 mm off the pair's grid
    mask = np.roll((b != 1).numpy().astype(np.float32), 3, 0)
    space = PairSpace(np.diag([2.0, 2.0, 2.0, 1.0]), np.ones(shape, dtype=bool))
    laid = RegisteredPair(space, a, b, a, b, a > 0, 1.0, 1.0, np.eye(4), moved)
    marks = marked_pairs.lay_marks(Volume(mask, space.affine), laid)
    torch.testing.assert_close(marks, torch.sign(b - a).where(b != 0.9, 1.0), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[ChangeSource]:
    """A single scan, and a marked pair of which one corner became brighter."""
    folder = tmp_path_factory.mktemp("sources")
    scan = torch.from_numpy(1 + 0.05 * np.random.default_rng(0).standard_normal((48, 48, 48)).astype(np.float32))
    marks = torch.zeros_like(scan)
    marks[2:8, 2:8, 2:8] = 1.0
    return [
        synthetic_follow_ups.write_change_source(folder / "single.npy", scan, scan, scan > 0, 1.5),
        synthetic_follow_ups.write_change_source(folder / "pair.npy", scan, scan + marks, scan > 0, 1.5, marks),
    ]


def test_patches_of_a_marked_pair_show_its_marks_in_either_order(sources: list[ChangeSource]) -> None:
    assert [source.marked for source in sources] == [False, True]
    assert synthetic_follow_ups.read_change_source(sources[1].path, 1.5) == sources[1]
    made = synthetic_follow_ups.draw_change_batch(sources, 6, np.random.default_rng(0), marked_share=1.0)
    signs = {int(sign) for sign in made.truth.sum((1, 2, 3, 4)).sign()}
    assert signs == {-1, 0, 1} or signs == {-1, 1}
    for sign in (-1, 1):
        there = made.truth == sign
        assert float(((made.later - made.earlier)[there] * sign).median()) > 0.2
        assert (made.weight[there] == 1).all()


def test_without_marked_pairs_patches_are_those_of_before(sources: list[ChangeSource]) -> None:
    known = sources[:1] * 3
    made = synthetic_follow_ups.draw_change_batch(known, 1, np.random.default_rng(3), marked_share=0.5)
    rng = np.random.default_rng(3)
    rng.integers(len(known))  # one draw chooses the source, as ever
    before = synthetic_follow_ups._draw_example(known[0], rng)
    assert all(torch.equal(part[0, 0], other) for part, other in zip(vars(made).values(), before, strict=True))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two visits of three patients, and of each a mask of what became brighter."""
    folder = tmp_path_factory.mktemp("data")
    places = np.stack(np.meshgrid(*[np.arange(EDGE) - EDGE / 2 + 0.5] * 3, indexing="ij"))
    body = np.linalg.norm(places, axis=0) < EDGE / 2 - 3
    for number, subject in enumerate(SPLIT_OF):
        rng = np.random.default_rng(number)
        texture = gaussian_filter(rng.standard_normal((EDGE,) * 3), 1.5)
        scan = body * (600 + 1500 * texture)
        mask = np.zeros((EDGE,) * 3)
        mask[12:16, 12:16, 12:16] = 1
        for visit, image in ((1, scan), (2, scan + 500 * mask)):
            noisy = (image + 10 * rng.standard_normal(image.shape)).astype(np.float32)
            write_volume(folder / f"{subject}_ses-{visit:02d}_FLAIR.nii.gz", Volume(noisy, AFFINE))
        write_volume(folder / f"{subject}_marks.nii.gz", Volume(mask.astype(np.int16), AFFINE))
    return folder


def train(data: Path, folder: Path, marked: str | None) -> tuple[str, int, dict[str, torch.Tensor]]:
    """Model id, number of marked pairs, and the weights of a brief training with the marks of one patient or none."""
    study = Study(data, data / "reports", Config(train=BRIEF, score=ScoreConfig(spacing_mm=4)))
    rows = {subject: [scan_row(subject, visit) for visit in (1, 2)] for subject in SPLIT_OF}
    if marked:
        rows[marked][1]["difference"] = f"{marked}_marks.nii.gz"
    scans = build_scan_table([row for one in rows.values() for row in one])
    aligned = {"matrix": np.eye(4).tolist(), "quality": 1.0, "coverage": 1.0, "ok": True, "volume": "", "brain": None}
    alignments = [{**aligned, "scan": scan, "content": scan} for scan in scans.id]
    template = data / "sub-a_ses-01_FLAIR.nii.gz"
    prepared = PreparedStudy(pd.DataFrame(alignments, columns=list(ALIGNMENT_COLUMNS)), template)
    pairs = pd.DataFrame([pair_row(*one) for one in rows.values()])
    usable = training_scans.select_usable_scans(scans, prepared, pairs)
    sources = train_model.prepare_change_sources(study, usable, prepared, pairs, folder / "exercises")
    assert sources is not None
    torch.manual_seed(0)
    network = SiameseNetwork(BRIEF, atlas.build_empty_atlas((48, 48, 48), ((0, 48), (0, 48), (0, 48))))
    fabric = Fabric(accelerator="cpu", devices=1)
    change_training.train_change_head(network, sources, BRIEF, folder, fabric, lambda _: None)
    identity = train_model.compute_model_id(study, usable, prepared, pairs)
    return identity, sum(one.marked for one in sources[0]), network.watcher.state_dict()


@pytest.mark.long
def test_marks_of_validation_and_test_patients_change_nothing_and_those_of_training_patients_do(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_training, "VALIDATION_BATCHES", 1)
    monkeypatch.setattr(change_training, "_validation_loss", lambda *_: 0.0)  # so that the last weights are kept
    found = {}
    for marked in (None, *SPLIT_OF):
        folder = tmp_path / str(marked)
        folder.mkdir()
        found[marked] = train(data, folder, marked)
    before, learned = found[None], found["sub-a"]
    for patient in ("sub-b", "sub-c"):
        identity, count, weights = found[patient]
        assert (identity, count) == (before[0], 0)
        assert all(torch.equal(part, before[2][name]) for name, part in weights.items())
    assert learned[0] != before[0]
    assert learned[1] == 1
    assert any(not torch.equal(part, before[2][name]) for name, part in learned[2].items())
