"""Random variants of a whole batch at once.

MONAI's array transforms work image by image; its batched affine layer resamples the whole batch in
one call, with random numbers from a generator of ours, so that equal seeds give equal bytes.

A volume is mirrored, turned, shifted and zoomed within its slices, all of them alike: to the affine
layer its slices are channels, which costs a fraction of resampling in three dimensions. Between
slices, which may lie far apart, it is only shifted, by whole ones. Nothing is turned upside down or
back to front: patients are not.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from monai.networks.layers.spatial_transforms import AffineTransform
from numpy.typing import NDArray

MAXIMUM_ROTATION_DEGREES = 10.0
MAXIMUM_SHIFT = 0.06
MAXIMUM_ZOOM = 1.12
MAXIMUM_GAIN = 1.25
MAXIMUM_OFFSET = 0.2
_RESAMPLE_IMAGE = AffineTransform(normalized=True, padding_mode="zeros", reverse_indexing=False)
_RESAMPLE_VOLUME = AffineTransform(normalized=True, padding_mode="border", reverse_indexing=False)


def augment(examples: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Mirrors, rotates, shifts, zooms and changes contrast, each example by its own draw.

    Args:
        examples: float32, shape (n, 1, rows, columns) for images, standardised: 0 is an image's
            mean grey, and what a shift uncovers is filled with it. Shape (n, 1, slices, rows,
            columns) for volumes, where 0 may be any tissue: the border is repeated instead.
        generator: Source of all randomness.
    """
    count, rows, columns = len(examples), *examples.shape[-2:]
    matrices = torch.from_numpy(draw_matrices(count, columns / rows, generator))
    gains = np.exp(math.log(MAXIMUM_GAIN) * generator.uniform(-1, 1, (count, 1, 1, 1)))
    offsets = MAXIMUM_OFFSET * generator.uniform(-1, 1, (count, 1, 1, 1))
    gain, offset = (_like(values, examples) for values in (gains, offsets))
    if examples.ndim == 4:
        return torch.addcmul(offset, _RESAMPLE_IMAGE(examples, matrices.to(examples.device)), gain)
    slices = _shift_slices(examples[:, 0], generator)
    moved = _RESAMPLE_VOLUME(slices, matrices.to(examples.device))
    return torch.addcmul(offset, moved, gain)[:, None]


def draw_matrices(count: int, aspect: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """Draws affine maps from output to input, float32, shape (count, 2, 3).

    Coordinates run from -1 to 1 along each side, x first; ``aspect`` is width over height, without
    which a rotation of an oblong image would shear it.
    """
    mirrored = np.where(generator.random(count) < 0.5, -1.0, 1.0)
    angles = np.radians(MAXIMUM_ROTATION_DEGREES) * generator.uniform(-1, 1, count)
    zooms = np.exp(math.log(MAXIMUM_ZOOM) * generator.uniform(-1, 1, count))
    # A side is 2 long in these coordinates, so a shift by a fraction of it counts twice.
    shifts = 2 * MAXIMUM_SHIFT * generator.uniform(-1, 1, (count, 2))
    cosines, sines = zooms * np.cos(angles), zooms * np.sin(angles)
    matrices = np.empty((count, 2, 3), np.float32)
    matrices[:, 0, 0] = cosines * mirrored
    matrices[:, 0, 1] = -sines / aspect
    matrices[:, 1, 0] = sines * aspect * mirrored
    matrices[:, 1, 1] = cosines
    matrices[:, :, 2] = shifts
    return matrices


def _shift_slices(volumes: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Shifts each volume, shape (n, slices, rows, columns), by whole slices; the ends repeat."""
    count, depth = volumes.shape[:2]
    farthest = round(MAXIMUM_SHIFT * depth)
    shifts = generator.integers(-farthest, farthest + 1, (count, 1))
    taken = torch.from_numpy(np.clip(np.arange(depth) + shifts, 0, depth - 1)).to(volumes.device)
    return volumes[torch.arange(count, device=volumes.device)[:, None], taken]


def _like(values: NDArray[np.float64], images: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(values).to(device=images.device, dtype=images.dtype)
