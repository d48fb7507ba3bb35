"""Longitudinal scans as dictionaries from a list, a BIDS tree and a study; pairs of patients that are split."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import monai.data
import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import RandGaussianNoised, ScaleIntensityd, Spacingd
from torch.utils.data import DataLoader

import siamese_med
from siamese_med.errors import EmptyInputError, InputError, NotEnoughDataError, UsageError
from siamese_med.imaging.volume import Volume, read_volume, write_volume
from siamese_med.simulation import bids_tree
from siamese_med.simulation.scanner import draw_scanners
from siamese_med.study.vocabulary import SPLITS
from siamese_med.training.longitudinal_dataset import LongitudinalDataset
from siamese_med.training.pair_sampler import PairSampler
from tests import documentation, studies
from tests.commands import ROOT
from tests.studies import Made

AFFINE = np.array([[2.0, 0, 0, -5], [0, 2, 0, 7], [0, 0, 3, 1], [0, 0, 0, 1]])
SHAPE = (6, 5, 4)


def write_scans(folder: Path, patients: int = 6, visits: int = 2) -> list[dict[str, Any]]:
    """Scans whose voxels all hold the number of the scan, as a list of dictionaries; the first has a mask."""
    scans: list[dict[str, Any]] = []
    for number in range(patients * visits):
        path = folder / f"{number}.nii.gz"
        write_volume(path, Volume(np.full(SHAPE, number, dtype=np.int16), AFFINE))
        visit = number % visits
        scans.append(
            {"image": path, "subject": f"sub-{number // visits}", "session": f"ses-{visit}", "days": 90 * visit}
        )
    half = np.zeros(SHAPE, dtype=np.int16)
    half[:3] = 1
    write_volume(folder / "mask.nii.gz", Volume(half, AFFINE))
    scans[0]["mask"] = folder / "mask.nii.gz"
    return scans


def test_a_scan_is_a_dictionary_with_an_image_that_knows_its_place(tmp_path: Path) -> None:
    dataset = LongitudinalDataset(write_scans(tmp_path))
    scan, other = dataset[0], dataset[3]
    assert isinstance(scan["image"], MetaTensor)
    assert scan["image"].shape == (1, *SHAPE)
    assert torch.equal(other["image"].as_tensor(), torch.full((1, *SHAPE), 3.0))
    np.testing.assert_allclose(scan["image"].affine, AFFINE)
    assert (scan["mask"].mean(), other["mask"].mean()) == (0.5, 1.0)
    assert (other["subject"], other["session"], float(other["days"])) == ("sub-1", "ses-1", 90.0)
    pair = dataset[0, 3]
    assert (float(pair["same"]), pair["b"]["subject"]) == (0.0, "sub-1")
    assert float(dataset[2, 3]["same"]) == 1.0


@pytest.mark.parametrize("loader", [DataLoader, monai.data.DataLoader])
def test_pairs_come_in_batches_from_the_loaders_of_torch_and_of_monai(tmp_path: Path, loader: Any) -> None:
    dataset = LongitudinalDataset(write_scans(tmp_path))
    (batch, _) = loader(dataset, batch_size=4, sampler=PairSampler(dataset, pairs=8))
    assert batch["a"]["image"].shape == (4, 1, *SHAPE)
    assert batch["same"].shape == (4,)
    agrees = [one == other for one, other in zip(batch["a"]["subject"], batch["b"]["subject"], strict=True)]
    assert agrees == batch["same"].bool().tolist()


def test_transforms_of_monai_prepare_once_and_change_every_time(tmp_path: Path) -> None:
    preparation = [Spacingd("image", (1.0, 1.0, 1.0)), ScaleIntensityd("image", minv=None, maxv=None, factor=-0.5)]
    noise = RandGaussianNoised("image", prob=1.0).set_random_state(seed=1)
    scans = write_scans(tmp_path, patients=2)
    dataset = LongitudinalDataset(scans, preparation, noise, cache=tmp_path / "cache")
    first, again = dataset[3]["image"], dataset[3]["image"]
    np.testing.assert_allclose(np.diag(first.affine)[:3], 1.0)
    assert first.shape[1] > SHAPE[0]
    assert not torch.equal(first, again)
    assert first.mean() == pytest.approx(1.5, abs=0.1)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_cache_follows_files_and_transforms_and_holds_no_names(tmp_path: Path) -> None:
    scans, cache = write_scans(tmp_path, patients=2), tmp_path / "cache"
    dataset = LongitudinalDataset(scans, cache=cache)
    before = dataset[3]
    scans[3]["image"].unlink()
    assert torch.equal(dataset[3]["image"], before["image"])  # from the cache
    np.testing.assert_allclose(dataset[3]["image"].affine, AFFINE)
    write_volume(scans[3]["image"], Volume(np.full(SHAPE, 77, dtype=np.int16), AFFINE))
    assert LongitudinalDataset(scans, cache=cache)[3]["image"].max() == 77
    halved = LongitudinalDataset(scans, [ScaleIntensityd("image", minv=None, maxv=None, factor=-0.5)], cache=cache)
    assert halved[3]["image"].max() == 38.5
    for path in cache.iterdir():
        assert not any(word in path.read_bytes() for word in (b"sub-1", b"ses-1", b"nii", bytes(tmp_path)))


def test_a_cached_file_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    dataset = LongitudinalDataset(write_scans(tmp_path, patients=2), cache=tmp_path / "cache")
    assert dataset[3]["image"].max() == 3
    (kept,) = (tmp_path / "cache").iterdir()
    for length in (0, 100, kept.stat().st_size // 2):
        kept.write_bytes(kept.read_bytes()[:length])
        assert dataset[3]["image"].max() == 3


def test_a_bids_tree_gives_patients_visits_and_days(tmp_path: Path) -> None:
    for person, visit, contrast in ((1, 2, "T1w"), (1, 1, "T1w"), (0, 1, "FLAIR"), (0, 1, "T1w")):
        machine = draw_scanners(np.random.default_rng(0), 1, (contrast,))[0]
        scan = Volume(np.ones(SHAPE, dtype=np.float32), AFFINE)
        path = bids_tree.write_bids_scan(tmp_path, person, visit, machine, scan)
        write_volume(path.with_name(path.name.replace(contrast, "mask")), scan)
    bids_tree.write_bids_tables(tmp_path, "test", {1: ["2020-01-01", "2020-03-01"]})
    dataset = LongitudinalDataset.from_bids(tmp_path)
    assert dataset.subjects == ["sub-000", "sub-000", "sub-001", "sub-001"]
    days = [float(dataset[place]["days"]) for place in range(4)]
    assert days[2:] == [0.0, 60.0]
    assert all(math.isnan(day) for day in days[:2])
    assert dataset[3]["session"] == "ses-02"
    assert len(LongitudinalDataset.from_bids(tmp_path, ["FLAIR"])) == 1
    with pytest.raises(EmptyInputError, match="no image of contrast PDw"):
        LongitudinalDataset.from_bids(tmp_path, ["PDw"])


def test_an_undated_scan_lies_at_its_visit(tmp_path: Path) -> None:
    scan = Volume(np.ones(SHAPE, dtype=np.float32), AFFINE)
    bids_tree.write_bids_tables(tmp_path, "test", {1: []})
    for visit, contrast in ((1, "T1w"), (1, "FLAIR"), (2, "T1w")):
        machine = draw_scanners(np.random.default_rng(0), 1, (contrast,))[0]
        bids_tree.write_bids_scan(tmp_path, 0, visit, machine, scan)
    for visit, contrast, day in (("ses-01", "FLAIR", "2020-01-01"), ("ses-02", "T1w", "2020-03-01")):
        row = f"filename\tacq_time\nanat/sub-000_{visit}_{contrast}.nii.gz\t{day}T10:15:00\n"
        (tmp_path / "sub-000" / visit / f"sub-000_{visit}_scans.tsv").write_text(row)
    dataset = LongitudinalDataset.from_bids(tmp_path, ["T1w"])
    assert [(dataset[place]["session"], float(dataset[place]["days"])) for place in range(2)] == [
        ("ses-01", pytest.approx(math.nan, nan_ok=True)), ("ses-02", 60.0),
    ]  # fmt: skip


def test_a_study_gives_its_scans_and_keeps_its_splits(made_study: Made, tmp_path: Path) -> None:
    folder = made_study.copy(tmp_path)
    study = siamese_med.Study(folder / "data", folder / "reports", studies.small())
    prepared = siamese_med.prepare(study)
    raw, aligned = LongitudinalDataset.from_study(study), LongitudinalDataset.from_study(study, prepared)
    assert len(raw) == studies.PATIENTS * studies.VISITS
    assert len(aligned) == int(prepared.alignments.ok.sum())
    np.testing.assert_allclose(aligned[0]["image"].affine, read_volume(prepared.template).affine)
    assert {aligned[place]["image"].shape for place in range(len(aligned))} == {torch.Size((1, 24, 24, 24))}
    assert float(aligned[0]["days"]) == 0.0
    assert float(aligned[1]["days"]) > 300
    pairs = pd.read_parquet(study.pairs)
    assert dict(zip(pairs.subject_a, pairs.split, strict=True)).items() <= raw.splits.items()


@pytest.mark.parametrize(
    ("scans", "words"),
    [
        ([], "the list of scans is empty"),
        ([{"image": "a.nii"}], "scan 0 of the list has no `subject`"),
        ([{"image": "a.nii", "subject": "a", "label": 1}], "unknown key `label`"),
    ],
)
def test_a_list_that_cannot_be_is_refused_in_one_line(scans: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        LongitudinalDataset(scans)
    assert "\n" not in str(caught.value)


def test_a_scan_that_cannot_be_read_is_told_in_one_line_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_text("no scan")
    for name in ("scan.nii.gz", "gone.nii.gz"):
        dataset = LongitudinalDataset([{"image": tmp_path / name, "subject": "sub-1"}], cache=tmp_path / "cache")
        with pytest.raises(InputError, match="scan 0 of the dataset cannot be prepared") as caught:
            dataset[0]
        assert "\n" not in str(caught.value)
        assert name not in str(caught.value)


def test_pairs_follow_the_seed_and_the_pass_and_have_the_share_that_was_asked_for(tmp_path: Path) -> None:
    dataset = LongitudinalDataset(write_scans(tmp_path))
    sampler, again = PairSampler(dataset, pairs=40, same_share=0.25, seed=3), PairSampler(dataset, pairs=40, seed=4)
    first, second = list(sampler), list(sampler)
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert first != second
    assert first != list(again)
    assert len(sampler) == len(first) == 40
    assert Counter(dataset.subjects[a] == dataset.subjects[b] for a, b in first) == {True: 10, False: 30}
    assert all(a < b for a, b in first if dataset.subjects[a] == dataset.subjects[b])


def test_every_patient_counts_alike_and_is_in_one_split(tmp_path: Path) -> None:
    scans = write_scans(tmp_path, patients=12)
    many = [*scans, *[{**scans[0], "days": day} for day in range(40)]]
    dataset = LongitudinalDataset(many)
    seen = {split: {dataset.subjects[n] for pair in PairSampler(dataset, split) for n in pair} for split in SPLITS}
    assert not any(seen[one] & seen[other] for one in SPLITS for other in SPLITS if one < other)
    assert dataset.splits == LongitudinalDataset(many).splits
    drawn = Counter(dataset.subjects[a] for a, _ in PairSampler(dataset, pairs=1200, same_share=1.0))
    assert max(drawn.values()) < 1.6 * min(drawn.values())


def test_what_cannot_be_paired_is_told(tmp_path: Path) -> None:
    dataset = LongitudinalDataset(write_scans(tmp_path, patients=2))
    with pytest.raises(UsageError, match="no split 'training': give one of train, validation, test"):
        PairSampler(dataset, "training")
    with pytest.raises(UsageError, match="give a share from 0 to 1"):
        PairSampler(dataset, same_share=50)
    with pytest.raises(NotEnoughDataError, match="the test split has"):
        PairSampler(dataset, "test")


def test_the_loops_of_the_documentation_run(made_study: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_study.copy(tmp_path)
    (tmp_path / "data").rename(tmp_path / "study")
    (tmp_path / "config.toml").write_text(studies.CONFIG_TOML)
    monkeypatch.chdir(tmp_path)
    page = documentation.blocks(ROOT / "docs" / "python.md", "python")
    start = next(place for place, block in enumerate(page) if "LongitudinalDataset" in block)
    names: dict[str, Any] = {}
    exec(page[start], names)
    assert math.isfinite(float(names["loss"]))
    for block in page[start + 1 :]:
        exec(block, names)
    assert names["changed"].shape == names["images"].shape
    assert not torch.equal(names["changed"], names["images"])
