from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardround_client.pixels.radiograph import SCALE
from wardround_client.quarantine import Reason
from wardround_client.volumes.grid import make_grid
from wardround_client.volumes.plan import Volume
from wardround_client.volumes.resample import prepare_volume, resample
from wardround_common.errors import DicomError
from wardround_common.intake_plan import VolumePreprocessing

AXIAL = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
SHAPE = (9, 20, 16)


def places_of(volume: Volume) -> NDArray[np.float64]:
    """True places of the voxels, shape (slices, rows, columns, 3)."""
    rows, columns = np.indices(volume.values.shape[1:])
    down, right = (
        axis * step for axis, step in zip(volume.axes, volume.spacing_mm[1:], strict=True)
    )
    in_plane = rows[..., None] * down + columns[..., None] * right
    places: NDArray[np.float64] = volume.positions_mm[:, None, None] + in_plane
    return places


def new_volume(
    axes: NDArray[np.float64] = AXIAL,
    steps: Any = 2.0,
    shear: tuple[float, float] = (0.0, 0.0),
    shape: tuple[int, int, int] = SHAPE,
) -> Volume:
    """An empty volume; ``shear`` moves rows and columns for each mm along the normal."""
    distances = np.concatenate([[0.0], np.cumsum(np.full(shape[0] - 1, steps))])
    normal = np.cross(axes[1], axes[0])
    positions = np.array([5.0, -3.0, 8.0]) + distances[:, None] * (normal + shear @ axes)
    return Volume(
        values=np.zeros(shape, np.float32),
        valid=np.ones(shape, np.bool_),
        affine=np.eye(4),
        positions_mm=positions,
        axes=axes,
        spacing_mm=(float(np.median(np.diff(distances))), 0.9, 0.7),
    )


def filled(volume: Volume, values: Any) -> Volume:
    return dataclasses.replace(volume, values=np.asarray(values, np.float32))


def grid_places(volume: Volume, preprocessing: VolumePreprocessing) -> NDArray[np.float64]:
    grid = make_grid(volume, preprocessing)
    offsets = np.meshgrid(*(grid.offsets_mm(axis) for axis in range(3)), indexing="ij")
    places: NDArray[np.float64] = grid.centre_mm + np.stack(offsets, axis=-1) @ grid.axes
    return places


def turned(x: float, y: float, z: float) -> NDArray[np.float64]:
    axes = np.eye(3)
    for k, angle in enumerate((x, y, z)):
        turn = np.eye(3)
        i, j = [a for a in range(3) if a != k]
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        axes = axes @ turn
    return axes[:2]


ANGLE = st.sampled_from([0.0, 0.3, -0.7, np.pi / 2, np.pi, 2.5])
SPACING = st.tuples(*[st.floats(0.3, 4)] * 3)


@settings(max_examples=60, deadline=None)
@given(
    angles=st.tuples(ANGLE, ANGLE, ANGLE),
    steps=st.lists(st.floats(0.5, 3), min_size=8, max_size=8),
    shear=st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)),
    spacing=SPACING,
    orientation=st.sampled_from(["patient", "acquired"]),
)
def test_any_grid_in_any_volume_reads_a_linear_function_exactly(
    angles: tuple[float, float, float],
    steps: list[float],
    shear: tuple[float, float],
    spacing: tuple[float, float, float],
    orientation: Any,
) -> None:
    volume = new_volume(turned(*angles), steps, shear)
    preprocessing = VolumePreprocessing(
        orientation=orientation, spacing_mm=spacing, shape=(8, 9, 10), window=(-1, 1)
    )
    for axis in range(3):
        linear = filled(volume, places_of(volume)[..., axis])
        values, inside = resample(linear, make_grid(linear, preprocessing))
        off = np.abs(values - grid_places(linear, preprocessing)[..., axis])[inside]
        assert off.max(initial=0.0) <= 1e-3


def test_a_grid_on_the_voxels_gives_the_voxels() -> None:
    volume = filled(new_volume(shape=(8, 9, 10)), np.random.default_rng(1).normal(size=(8, 9, 10)))
    same = VolumePreprocessing(spacing_mm=(2.0, 0.9, 0.7), shape=(8, 9, 10))
    values, inside = resample(volume, make_grid(volume, same))
    assert inside.all()
    np.testing.assert_allclose(values, volume.values, atol=1e-5)


def test_patient_axes_run_to_the_head_the_back_and_the_left() -> None:
    volume = new_volume(turned(0.4, 0.2, 3.0))
    places = grid_places(volume, VolumePreprocessing(shape=(8, 8, 8)))
    np.testing.assert_allclose(places[1, 0, 0] - places[0, 0, 0], [0, 0, 2.5], atol=1e-12)
    np.testing.assert_allclose(places[0, 1, 0] - places[0, 0, 0], [0, 2.5, 0], atol=1e-12)
    np.testing.assert_allclose(places[0, 0, 1] - places[0, 0, 0], [2.5, 0, 0], atol=1e-12)


@pytest.mark.parametrize(
    "angles", [(0.2, 0.1, 0.0), (1.4, 0.1, 0.2), (0.1, 0.1, 3.0), (1.6, 1.5, 0)]
)
def test_acquired_axes_are_the_volumes_own_nearest_to_the_patients(
    angles: tuple[float, float, float],
) -> None:
    volume = new_volume(turned(*angles))
    grid = make_grid(volume, VolumePreprocessing(orientation="acquired"))
    np.testing.assert_allclose(grid.axes @ grid.axes.T, np.eye(3), atol=1e-12)
    own = np.array([np.cross(volume.axes[1], volume.axes[0]), *volume.axes])
    assert np.allclose(np.sort(np.abs(grid.axes @ own.T)), [0, 0, 1], atol=1e-9)
    assert (np.diag(grid.axes[::-1]) > 0).all()


def test_fine_detail_does_not_become_coarse_detail() -> None:
    volume = new_volume(steps=1.0, shape=(40, 60, 60))
    stripes = filled(volume, np.indices((40, 60, 60)).sum(axis=0) % 2)
    for axes in (AXIAL, turned(0.3, 0.2, 0.1)):
        coarse = VolumePreprocessing(spacing_mm=(5.0, 4.5, 3.5), shape=(8, 8, 8))
        striped = dataclasses.replace(
            stripes, axes=axes, positions_mm=new_volume(axes, 1.0, shape=(40, 60, 60)).positions_mm
        )
        values, inside = resample(striped, make_grid(striped, coarse))
        assert inside.any()
        assert np.abs(values[inside] - 0.5).max() < 0.1


def test_what_lies_outside_is_as_dark_as_the_window_allows() -> None:
    volume = filled(new_volume(), np.linspace(-2000, 2000, np.prod(SHAPE)).reshape(SHAPE))
    pixels = prepare_volume(volume, VolumePreprocessing(window=(-1000, 400)))
    assert pixels[0, 0, 0] == pixels.min() == -SCALE
    assert pixels.max() == SCALE


def test_a_window_maps_its_ends_and_its_middle() -> None:
    ramp = places_of(new_volume())[..., 2]
    volume = filled(new_volume(), ramp)
    low, high = float(ramp.min()) + 2, float(ramp.max()) - 2
    grid = VolumePreprocessing(spacing_mm=(1.0, 0.9, 0.7), shape=(15, 8, 8), window=(low, high))
    expected = np.clip((grid_places(volume, grid)[..., 2] - low) / (high - low) * 2 - 1, -1, 1)
    np.testing.assert_allclose(prepare_volume(volume, grid) / SCALE, expected, atol=1e-3)


def test_without_a_window_a_volume_has_mean_0_and_deviation_1_inside() -> None:
    values = np.random.default_rng(2).normal(700, 90, SHAPE)
    volume = filled(new_volume(), values)
    wide = VolumePreprocessing(spacing_mm=(2.0, 0.9, 0.7), shape=(30, 30, 30))
    _, inside = resample(volume, make_grid(volume, wide))
    pixels = prepare_volume(volume, wide) / SCALE
    assert abs(pixels[inside].mean()) < 1e-3
    assert pixels[inside].std() == pytest.approx(1, abs=1e-3)
    assert not pixels[~inside].any()


def test_padding_touches_no_value_and_counts_as_outside() -> None:
    volume = filled(new_volume(), places_of(new_volume())[..., 0])
    valid = volume.valid.copy()
    valid[:, :, :5] = False
    spoilt = np.where(valid, volume.values, np.nan).astype(np.float32)
    padded = dataclasses.replace(volume, values=spoilt, valid=valid)
    for orientation in ("patient", "acquired"):
        grid = VolumePreprocessing(
            orientation=orientation, spacing_mm=(1.5, 1.1, 1.3), shape=(12, 14, 12)
        )
        values, inside = resample(padded, make_grid(padded, grid))
        _, whole = resample(volume, make_grid(volume, grid))
        assert 0 < inside.sum() < whole.sum()
        off = values[inside] - grid_places(padded, grid)[..., 0][inside]
        assert np.abs(off).max() < 1e-3
        assert not values[~inside].any()


def test_the_grid_lies_around_the_foreground_if_asked() -> None:
    volume = new_volume(steps=[1, 1, 1, 1, 4, 4, 4, 4])
    lump = volume.values.copy()
    lump[3, 4:7, 10:13] = 100
    volume = filled(volume, lump - 50)
    grid = make_grid(volume, VolumePreprocessing(placement="foreground", foreground_above=0))
    np.testing.assert_allclose(grid.centre_mm, places_of(volume)[3, 5, 11])


def test_foreground_weighs_by_the_space_it_takes_not_by_slices() -> None:
    dense, sparse = [1.0] * 4, [4.0] * 4
    volume = filled(new_volume(steps=[*dense, *sparse]), np.ones(SHAPE))
    grid = make_grid(volume, VolumePreprocessing(placement="foreground", foreground_above=0))
    ends = volume.positions_mm[[0, -1], 2]
    assert grid.centre_mm[2] == pytest.approx(ends.mean(), abs=1.2)


@pytest.mark.parametrize(
    "preprocessing",
    [
        VolumePreprocessing(window=(0, 10)),
        VolumePreprocessing(),
        VolumePreprocessing(placement="foreground", foreground_above=100),
    ],
)
def test_a_volume_that_shows_nothing_is_refused(preprocessing: VolumePreprocessing) -> None:
    with pytest.raises(DicomError) as caught:
        prepare_volume(filled(new_volume(), np.full(SHAPE, 7)), preprocessing)
    assert caught.value.reason == Reason.CONSTANT
