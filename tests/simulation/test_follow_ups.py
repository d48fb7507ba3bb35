"""Follow-ups of real scans are a BIDS tree that ingest takes, and tell nothing of the sources but anatomy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.pipeline import stages
from siamese_med.simulation import follow_ups
from siamese_med.study.tables import Study

PEOPLE, VISITS = 3, 3


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Crops of different size and origin, as they are cut out of different heads, under names that are nobody's."""
    from scipy.ndimage import gaussian_filter

    folder = tmp_path_factory.mktemp("sources")
    for number in range(PEOPLE):
        rng = np.random.default_rng(number)
        tissue = gaussian_filter(rng.standard_normal((35 + 3 * number, 51, 36)), 2.0)
        affine = np.diag([1.0, 1, 1, 1])
        affine[:3, 3] = rng.uniform(-100, 100, 3)
        volume.write_volume(
            folder / f"private-{number}.nii.gz", Volume((700 + 900 * tissue / tissue.std()).astype(np.float32), affine)
        )
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def tree(sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return follow_ups.write_follow_ups(tmp_path_factory.mktemp("tree") / "bids", sources, VISITS, seed=3)


def test_every_source_becomes_a_person_with_its_visits_and_dates(tree: Path, tmp_path: Path) -> None:
    study = Study(tmp_path / "data", tmp_path / "reports")
    account = stages.ingest(tree, study).account
    scans = stages.scans(study)
    assert account.ingested == PEOPLE * VISITS
    assert scans.groupby("subject").size().tolist() == [VISITS] * PEOPLE
    assert set(scans.contrast) == {"T1w"}
    assert scans.date.notna().all()
    assert scans.scanner.nunique() > 1


def test_no_source_is_named_or_copied(tree: Path, sources: list[Path]) -> None:
    written = [path for path in tree.rglob("*") if path.is_file()]
    assert not any("private" in str(path) or b"private" in path.read_bytes() for path in written)
    shapes = {volume.read_volume(source).voxels.shape for source in sources}
    assert not any(volume.read_volume(path).voxels.shape in shapes for path in tree.rglob("*.nii.gz"))


def test_geometry_does_not_tell_persons_apart(tree: Path) -> None:
    """The middle of a scan lies within a few mm of the origin, and machines share their shapes."""
    scans = [volume.read_volume(path) for path in tree.rglob("*.nii.gz")]
    middles = [(scan.affine @ [*(np.array(scan.voxels.shape) - 1) / 2, 1])[:3] for scan in scans]
    assert np.abs(middles).max() < 8


def test_a_complete_tree_is_left_as_it_is_and_another_seed_makes_another(
    tree: Path, sources: list[Path], tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in tree.rglob("*")}
    follow_ups.write_follow_ups(tree, sources, VISITS, seed=3)
    assert {path: path.stat().st_mtime_ns for path in tree.rglob("*")} == before
    other = follow_ups.write_follow_ups(tmp_path / "other", sources[:1], 1, seed=4)
    first = next(other.rglob("*.nii.gz"))
    assert first.read_bytes() != next(iter(sorted(tree.rglob("*.nii.gz")))).read_bytes()
