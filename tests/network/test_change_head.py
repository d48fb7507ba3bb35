"""What holds of the change head whatever its weights are: nothing for equal scans, the negative for swapped ones."""

from __future__ import annotations

import pytest
import torch

from siamese_med.network import change_head
from siamese_med.network.backbone import SharedBackbone, count_coarsest_features, pad_to_stride
from siamese_med.network.change_head import ChangeHead

SHAPE = (2, 1, 24, 32, 16)


@pytest.fixture(scope="module")
def parts() -> tuple[SharedBackbone, ChangeHead]:
    """With a decoder that says something, which a fresh one does not."""
    torch.manual_seed(0)
    trunk = SharedBackbone(8)
    change = ChangeHead(trunk)
    torch.nn.init.normal_(change.voxels.weight)
    return trunk.eval(), change.eval()


def evidence(parts: tuple[SharedBackbone, ChangeHead], a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    trunk, change = parts
    with torch.inference_mode():
        found: torch.Tensor = change(trunk, a, b, change_head.compute_deviations(a, b, torch.ones_like(a)))
    return found


def scans(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def test_a_scan_is_no_change_to_itself(parts: tuple[SharedBackbone, ChangeHead]) -> None:
    assert (evidence(parts, scans(1), scans(1)) == 0).all()


def test_swapping_the_scans_turns_the_sign_and_nothing_else(parts: tuple[SharedBackbone, ChangeHead]) -> None:
    there, back = evidence(parts, scans(1), scans(2)), evidence(parts, scans(2), scans(1))
    assert there.abs().max() > 1
    torch.testing.assert_close(there, -back, atol=1e-6, rtol=0)


def test_darker_and_brighter_change_places_with_the_scans(parts: tuple[SharedBackbone, ChangeHead]) -> None:
    _, change = parts
    there = change.logits(evidence(parts, scans(1), scans(2))).softmax(1)
    back = change.logits(evidence(parts, scans(2), scans(1))).softmax(1)
    torch.testing.assert_close(there, back.flip(1), atol=1e-6, rtol=0)


def test_before_training_the_evidence_is_that_of_plain_deviations() -> None:
    trunk = SharedBackbone(8)
    a, b = scans(1), scans(2)
    plain = change_head.compute_deviations(a, b, torch.ones_like(a))
    expected = sum(share * plain[:, n : n + 1] for n, share in enumerate(change_head.INITIAL_DEVIATION_WEIGHTS))
    torch.testing.assert_close(evidence((trunk, ChangeHead(trunk)), a, b), expected)


def test_a_patch_gives_what_the_whole_gives_there(parts: tuple[SharedBackbone, ChangeHead]) -> None:
    """No statistics are taken over the grid, so far from its edges a patch is like the whole."""
    trunk, change = parts
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(1, 1, 128, 16, 16, generator=generator) for _ in range(2))
    plain = change_head.compute_deviations(a, b, torch.ones_like(a))
    with torch.inference_mode():
        whole = change(trunk, a, b, plain)
        part = change(trunk, a[:, :, 32:], b[:, :, 32:], plain[:, :, 32:])
    torch.testing.assert_close(whole[:, :, 80:], part[:, :, 48:], atol=1e-4, rtol=1e-4)


def test_scans_are_filled_up_to_multiples_of_eight() -> None:
    assert pad_to_stride(torch.zeros(1, 1, 20, 8, 1)).shape[2:] == (24, 8, 8)
    assert count_coarsest_features((20, 8, 1)) == 3
