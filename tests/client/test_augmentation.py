"""Random variants: deterministic, gentle, and right for oblong images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wardround_client import augmentation
from wardround_client.augmentation import augment, draw_matrices

SHAPES = [(4, 1, 20, 24), (4, 1, 9, 20, 24)]


def _generator(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_generators_give_equal_bytes_and_others_do_not(shape: tuple[int, ...]) -> None:
    images = torch.randn(shape)
    first = augment(images, _generator())
    assert torch.equal(augment(images, _generator()), first)
    assert not torch.equal(augment(images, _generator(2)), first)


@pytest.mark.parametrize("shape", SHAPES)
def test_shape_and_type_stay_and_the_input_is_not_changed(shape: tuple[int, ...]) -> None:
    images = torch.randn(shape)
    before = images.clone()
    varied = augment(images, _generator())
    assert varied.shape == images.shape
    assert varied.dtype == torch.float32
    assert torch.equal(images, before)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_image_of_a_batch_gets_its_own_variant(shape: tuple[int, ...]) -> None:
    one = torch.randn(1, *shape[1:])
    varied = augment(one.expand(6, *shape[1:]), _generator())
    assert len({image.numpy().tobytes() for image in varied}) == 6


def _without_ranges(monkeypatch: pytest.MonkeyPatch, *, but: str = "") -> None:
    for name in ("MAXIMUM_ROTATION_DEGREES", "MAXIMUM_SHIFT", "MAXIMUM_OFFSET"):
        if name != but:
            monkeypatch.setattr(augmentation, name, 0.0)
    for name in ("MAXIMUM_ZOOM", "MAXIMUM_GAIN"):
        monkeypatch.setattr(augmentation, name, 1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_without_any_range_the_image_stays_or_is_mirrored_from_left_to_right(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    _without_ranges(monkeypatch)
    images = torch.randn(16, *shape[1:])
    varied = augment(images, _generator())
    same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(varied, images, strict=True)]
    mirrored = [
        torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(varied, images, strict=True)
    ]
    assert any(same)
    assert any(mirrored)
    assert all(a or b for a, b in zip(same, mirrored, strict=True))


def test_a_volume_is_shifted_by_whole_slices_and_its_ends_repeat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _without_ranges(monkeypatch, but="MAXIMUM_SHIFT")
    depth = 50
    ramp = torch.arange(depth, dtype=torch.float32)[:, None, None].expand(depth, 6, 6)
    varied = augment(ramp.expand(40, 1, depth, 6, 6), _generator())[:, 0]
    assert torch.allclose(varied, varied[:, :, :1, :1], atol=1e-4), "each slice is still constant"
    shifts = set()
    for volume in varied[:, :, 0, 0]:
        shift = round(float(volume[depth // 2]) - depth // 2)
        expected = (torch.arange(depth) + shift).clamp(0, depth - 1).float()
        assert torch.allclose(volume, expected, atol=1e-4)
        shifts.add(shift)
    assert shifts == {-3, -2, -1, 0, 1, 2, 3}, "MAXIMUM_SHIFT of 50 slices"


def test_all_slices_of_a_volume_are_moved_alike() -> None:
    slice_ = torch.randn(20, 24)
    varied = augment(slice_.expand(3, 1, 9, 20, 24), _generator())[:, 0]
    assert torch.allclose(varied, varied[:, :1], atol=1e-6)


def test_what_a_shift_uncovers_in_a_volume_is_the_repeated_border_not_another_tissue() -> None:
    air = torch.full((8, 1, 9, 20, 24), -1.0)
    varied = augment(air, _generator()).flatten(1)
    assert torch.allclose(varied, varied[:, :1], atol=1e-5)


def test_an_oblong_image_is_rotated_and_zoomed_but_never_sheared() -> None:
    aspect = 1.6
    matrices = draw_matrices(50, aspect, _generator())[:, :, :2].astype(np.float64)
    to_pixels = np.diag([aspect, 1.0])
    in_pixels = to_pixels @ matrices @ np.linalg.inv(to_pixels)
    products = in_pixels.transpose(0, 2, 1) @ in_pixels
    zooms = np.sqrt(np.abs(np.linalg.det(in_pixels)))
    np.testing.assert_allclose(products, zooms[:, None, None] ** 2 * np.eye(2), atol=1e-6)
    assert (zooms <= augmentation.MAXIMUM_ZOOM * (1 + 1e-6)).all()
    assert (zooms >= (1 - 1e-6) / augmentation.MAXIMUM_ZOOM).all()
