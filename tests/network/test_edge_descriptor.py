"""The descriptor of edges: blind to contrast, to the end of the field of view and to what all scans share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siamese_med.imaging.resampling import smooth_images
from siamese_med.network.edge_descriptor import SKETCH_SIZE, EdgeDescriptor, multiply_edges

SIZE = (24, 24, 24)
WHOLE = torch.ones(1, 1, *SIZE)


def person(seed: int) -> torch.Tensor:
    """An anatomy (1, 1, i, j, k) of smooth random structures, intensities 0.2 to 1."""
    noise = torch.randn(1, 1, *SIZE, generator=torch.Generator().manual_seed(seed))
    smooth = smooth_images(noise, 1.5)
    return 0.2 + 0.8 * (smooth - smooth.min()) / (smooth.max() - smooth.min())


def alike(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one * other).sum())


@pytest.fixture(scope="module")
def descriptor() -> EdgeDescriptor:
    made = EdgeDescriptor(SIZE)
    scans = [scan for seed in range(16) for scan in (person(seed), 1.3 - person(seed))]
    made.fit(torch.cat([multiply_edges(scan, WHOLE) for scan in scans]), np.repeat(np.arange(16), 2))
    return made


@pytest.mark.parametrize("curve", ["brighter", "inverted", "folded"])
def test_another_contrast_of_one_person_is_nearer_than_another_person(descriptor: EdgeDescriptor, curve: str) -> None:
    scan = person(20)
    other = {"brighter": 1.5 * scan.square(), "inverted": 1.3 - scan, "folded": (scan - 0.6).abs() + 0.1}[curve]
    one, again, stranger = (descriptor(image, WHOLE) for image in (scan, other, person(21)))
    assert alike(one, again) > 0.6
    assert abs(alike(one, stranger)) < 0.15


def test_descriptors_have_length_one_and_all_of_them_are_one_matrix_product(descriptor: EdgeDescriptor) -> None:
    found = descriptor(torch.cat([person(seed) for seed in (30, 31, 32)]), WHOLE)
    assert found.shape == (3, SKETCH_SIZE)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


def test_hashing_keeps_the_similarity_of_two_scans(descriptor: EdgeDescriptor) -> None:
    near = 0.5 * person(40) + 0.5 * person(41)
    apart = torch.cat([multiply_edges(scan, WHOLE) for scan in (person(40), near)]) - descriptor.mean
    apart = apart - (apart @ descriptor.modes.T) @ descriptor.modes
    exact = float(torch.nn.functional.cosine_similarity(apart[:1], apart[1:]))
    assert alike(descriptor(person(40), WHOLE), descriptor(near, WHOLE)) == pytest.approx(exact, abs=0.05)


def test_the_end_of_the_field_of_view_is_no_edge() -> None:
    flat = torch.full((1, 1, *SIZE), 0.8)
    flat[..., 12:] = 0
    assert not multiply_edges(flat, WHOLE).any()


def two_scanners(seed: int) -> list[torch.Tensor]:
    """One person on two scanners: the second one draws stripes over the head."""
    stripes = 0.15 * torch.sin(torch.arange(24.0))[:, None, None].expand(1, 1, *SIZE)
    return [multiply_edges(person(seed) + marks, WHOLE) for marks in (0 * stripes, stripes)]


def test_what_scanners_do_is_taken_away_and_what_patients_are_is_kept() -> None:
    made, patients = EdgeDescriptor(SIZE), np.repeat(np.arange(8), 2)
    made.fit(torch.cat([scan for seed in range(8) for scan in two_scanners(seed)]), patients)
    assert int((made.modes.norm(dim=1) > 0.5).sum()) == 2  # one for each four scans beyond the patients' first

    def describe(seed: int, modes: float) -> list[torch.Tensor]:
        apart = [scan - made.mean for scan in two_scanners(seed)]
        return [torch.nn.functional.normalize(one - modes * (one @ made.modes.T) @ made.modes) for one in apart]

    for seed in (3, 60):  # a training patient, and another one
        (before, after), (plain, striped) = describe(seed, 1.0), describe(seed, 0.0)
        assert alike(before, after) > alike(plain, striped) + 0.1
        assert alike(before, describe(seed + 1, 1.0)[0]) < 0.3


def test_a_single_slice_has_a_descriptor_too() -> None:
    slice_ = person(50)[..., :1]
    found = EdgeDescriptor((24, 24, 1))(slice_, torch.ones_like(slice_))
    assert np.isfinite(found.numpy()).all()
    assert float(found.norm()) == pytest.approx(1.0)
