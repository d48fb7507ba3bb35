"""What the encoder is shown: displacements of the right sign in any contrast, and nothing a shortcut could live on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from siamese_med.network import atlas
from siamese_med.network.atlas import Atlas, MeanSubtraction
from siamese_med.network.scan_dataset import ScanDataset

SHAPE = (32, 40, 32)
CONTRASTS = ((1.0, 0.6), (0.7, 1.1), (0.9, 0.5))


def head(rng: np.random.Generator, contrast: tuple[float, float], shift: float = 0.0) -> np.ndarray:
    """A ball with three smaller balls in it that sit `shift` voxels further along the first axis."""
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).astype(float)

    def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
        return 1 / (1 + np.exp(2 * (np.linalg.norm(grid - centre, axis=-1) - radius)))

    image = contrast[0] * ball((15.5, 19.5, 15.5), 13.5)
    for centre in ((11.0, 19.0, 15.0), (19.0, 14.0, 12.0), (18.0, 25.0, 19.0)):
        image += (contrast[1] - contrast[0]) * ball((centre[0] + shift, *centre[1:]), 3.0)
    return (image + 0.01 * rng.standard_normal(SHAPE)).clip(0.01)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> ScanDataset:
    """Twelve scans of six people, in three contrasts."""
    folder, rng = tmp_path_factory.mktemp("volumes"), np.random.default_rng(0)
    paths = []
    for number in range(12):
        paths.append(folder / f"{number}.npy")
        voxels = head(rng, CONTRASTS[number % 3], 0.3 * rng.standard_normal())
        np.save(paths[-1], voxels.astype(np.float16))
    return ScanDataset(paths, [str(number // 2) for number in range(12)])


@pytest.fixture(scope="module")
def fitted(known: ScanDataset) -> Atlas:
    found = atlas.fit_atlas(known)
    assert isinstance(found, Atlas)
    return found


def shown(fitted: Atlas, voxels: np.ndarray) -> torch.Tensor:
    (a, b), (c, d), (e, f) = fitted.box
    return torch.from_numpy(voxels[a:b, c:d, e:f].astype(np.float32))[None, None]


def test_a_displacement_has_one_sign_in_every_contrast(fitted: Atlas) -> None:
    rng = np.random.default_rng(1)
    found = {
        (contrast, shift): fitted(shown(fitted, head(rng, contrast, shift)))[1][0, :3].flatten()
        for contrast in CONTRASTS
        for shift in (-0.8, 0.8)
    }
    for (contrast, shift), first in found.items():
        for (other, moved), second in found.items():
            alike = float(torch.nn.functional.cosine_similarity(first, second, dim=0))
            assert (alike > 0.3) == (shift == moved), (contrast, shift, other, moved, alike)


def test_what_is_shown_has_no_outline_no_background_and_an_empty_thumbnail(fitted: Atlas) -> None:
    rng = np.random.default_rng(2)
    view = fitted.view(shown(fitted, head(rng, CONTRASTS[0])))
    assert (view[fitted.core == 0] == 0).all()
    wide = fitted.view(shown(fitted, np.roll(head(rng, CONTRASTS[0]), 1, axis=1)))
    assert ((view != 0) != (wide != 0)).float().mean() < 1e-3  # a voxel alone in its block is its own mean
    blocks = torch.nn.functional.avg_pool3d(view, fitted.block, ceil_mode=True)
    assert blocks.abs().max() < 1e-5


def test_of_the_scans_it_is_made_from_something_is_left_over(known: ScanDataset) -> None:
    few = atlas.fit_atlas(ScanDataset(known.volumes[:8], known.subjects[:8]))
    assert isinstance(few, Atlas)
    for scan in range(8):
        view = few.view(known.load(scan, few.box)[None])
        explained = ((view.flatten(1) @ few.solver.T) @ few.basis.flatten(1)).view_as(view)
        assert (view - explained).square().mean() > 1e-4 * view.square().mean()


def test_modes_come_from_every_patient_who_is_taken_in(known: ScanDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """One scan of each would leave the modes to the few who are taken in twice: a picture of them, not of machines."""
    taken: list[np.ndarray] = []
    find = atlas.find_within_patient_modes

    def listen(features: torch.Tensor, patients: np.ndarray, most: int, scans_per_mode: int) -> torch.Tensor:
        taken.append(patients)
        return find(features, patients, most, scans_per_mode)

    monkeypatch.setattr(atlas, "find_within_patient_modes", listen)
    monkeypatch.setattr(atlas, "MAX_ATLAS_SCANS", 8)
    atlas.fit_atlas(known)
    assert np.bincount(taken[0])[np.unique(taken[0])].tolist() == [2, 2, 2, 2]


def test_brightness_and_gain_of_a_scan_do_not_matter(fitted: Atlas) -> None:
    voxels = shown(fitted, head(np.random.default_rng(3), CONTRASTS[1], 0.5))
    torch.testing.assert_close(fitted(voxels)[1], fitted(3 * voxels)[1], atol=1e-3, rtol=1e-3)


def test_a_scan_with_half_its_field_of_view_missing_gives_finite_departures(fitted: Atlas) -> None:
    voxels = shown(fitted, head(np.random.default_rng(4), CONTRASTS[1]))
    voxels[..., : voxels.shape[-1] // 2] = 0
    assert torch.isfinite(fitted(voxels)[1]).all()
    assert torch.isfinite(fitted(torch.zeros_like(voxels))[1]).all()


def test_a_grid_too_thin_for_anatomy_is_shown_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "slice.npy", np.ones((16, 16, 1), dtype=np.float16))
    found = atlas.fit_atlas(ScanDataset([tmp_path / "slice.npy"], ["a"]))
    assert isinstance(found, MeanSubtraction)
    assert float(found(torch.full((1, 1, 16, 16, 1), 5.0))[1].abs().max()) == 0.0


def test_scans_that_share_no_body_still_give_an_atlas(tmp_path: Path) -> None:
    for number in range(2):
        voxels = np.zeros((24, 24, 24), dtype=np.float16)
        voxels[:, :, 12 * number : 12 * number + 4] = 1
        np.save(tmp_path / f"{number}.npy", voxels)
    found = atlas.fit_atlas(ScanDataset([tmp_path / "0.npy", tmp_path / "1.npy"], ["a", "b"]))
    assert found.box == ((0, 24), (0, 24), (0, 24))
