"""Random variants: deterministic, gentle, and right for oblong images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wardround_client import augmentation
from wardround_client.augmentation import augment, draw_matrices


def _generator(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_equal_generators_give_equal_bytes_and_others_do_not() -> None:
    images = torch.randn(4, 1, 20, 24)
    first = augment(images, _generator())
    assert torch.equal(augment(images, _generator()), first)
    assert not torch.equal(augment(images, _generator(2)), first)


def test_shape_and_type_stay_and_the_input_is_not_changed() -> None:
    images = torch.randn(4, 1, 20, 24)
    before = images.clone()
    varied = augment(images, _generator())
    assert varied.shape == images.shape
    assert varied.dtype == torch.float32
    assert torch.equal(images, before)


def test_each_image_of_a_batch_gets_its_own_variant() -> None:
    varied = augment(torch.randn(1, 1, 20, 24).expand(6, -1, -1, -1), _generator())
    assert len({image.numpy().tobytes() for image in varied}) == 6


def test_without_any_range_the_image_stays_or_is_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAXIMUM_ROTATION_DEGREES", "MAXIMUM_SHIFT", "MAXIMUM_OFFSET"):
        monkeypatch.setattr(augmentation, name, 0.0)
    for name in ("MAXIMUM_ZOOM", "MAXIMUM_GAIN"):
        monkeypatch.setattr(augmentation, name, 1.0)
    images = torch.randn(16, 1, 20, 24)
    varied = augment(images, _generator())
    same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(varied, images, strict=True)]
    mirrored = [
        torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(varied, images, strict=True)
    ]
    assert any(same)
    assert any(mirrored)
    assert all(a or b for a, b in zip(same, mirrored, strict=True))


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
