from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround_sim.synthetic.anatomy import draw_anatomy, draw_chest
from wardround_sim.synthetic.exposure import Radiograph, expose, pixel_spacing_mm
from wardround_sim.synthetic.hospital import Appearance, SyntheticHospital
from wardround_sim.synthetic.seeds import generator
from wardround_sim.synthetic.texture import box_blur, smooth_noise, smoothstep

HOSPITAL = SyntheticHospital(name="aurora_general", rows=128, columns=128, bits_stored=12)


def take(spec: SyntheticHospital, *, abnormal: bool = False, number: int = 0) -> Radiograph:
    draw = generator("test", number)
    anatomy = draw_anatomy(draw, female=number % 2 == 0, age_years=50)
    return expose(spec, anatomy, draw, abnormal=abnormal)


@pytest.mark.parametrize("number", range(6))
def test_the_truth_says_where_the_image_differs_from_the_normal_one(number: int) -> None:
    plain = dataclasses.replace(HOSPITAL, noise=0.0)
    with_opacity = take(plain, abnormal=True, number=number)
    without = take(dataclasses.replace(plain, lesion_contrast=0.0), abnormal=True, number=number)
    more = np.clip(with_opacity.pixels.astype(float) - without.pixels - 20, 0, None)
    rows, columns = np.indices(more.shape)
    near = np.zeros(more.shape, dtype=bool)
    for opacity in with_opacity.opacities:
        off = np.hypot(rows - opacity.row, columns - opacity.column)
        near |= off < 2 * opacity.radius_px
        assert more[off < opacity.radius_px / 2].mean() > 0
    assert more[near].sum() > 0.85 * more.sum() > 0


def test_a_normal_image_has_no_opacity_and_an_abnormal_one_has_one_to_three() -> None:
    assert take(HOSPITAL).opacities == ()
    counts = {len(take(HOSPITAL, abnormal=True, number=i).opacities) for i in range(20)}
    assert counts == {1, 2, 3}


def test_radius_in_millimetres_is_pixels_times_spacing() -> None:
    (first, *_) = take(HOSPITAL, abnormal=True).opacities
    assert first.radius_mm == pytest.approx(first.radius_px * pixel_spacing_mm(HOSPITAL))
    assert pixel_spacing_mm(HOSPITAL) == HOSPITAL.appearance.field_of_view_mm / 128


def test_monochrome1_stores_the_mirror_image_of_monochrome2() -> None:
    second = take(HOSPITAL).pixels.astype(int)
    first = take(dataclasses.replace(HOSPITAL, photometric="MONOCHROME1")).pixels.astype(int)
    total = first + second
    assert total.max() - total.min() <= 1


@pytest.mark.parametrize("bits", range(8, 17))
def test_pixels_use_the_stored_bits_and_no_more(bits: int) -> None:
    pixels = take(dataclasses.replace(HOSPITAL, bits_stored=bits)).pixels
    assert pixels.max() < 1 << bits
    assert pixels.max() - pixels.min() > 0.6 * (1 << bits)


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (96, 160), (160, 96)])
def test_images_have_the_shape_that_was_asked_for(rows: int, columns: int) -> None:
    spec = dataclasses.replace(HOSPITAL, rows=rows, columns=columns)
    assert take(spec, abnormal=True).pixels.shape == (rows, columns)


def test_lungs_are_darker_than_heart_and_liver() -> None:
    x, y = np.meshgrid(
        np.linspace(-180, 180, 128, dtype=np.float32), np.linspace(-180, 180, 128, dtype=np.float32)
    )
    anatomy = draw_anatomy(generator("chest"), female=False, age_years=40)
    chest = draw_chest(anatomy, x, y, breath_mm=0.0)
    assert chest.attenuation.dtype == chest.air.dtype == np.float32
    lung = chest.attenuation[(abs(x + 80) < 25) & (abs(y) < 40)].mean()
    heart = chest.attenuation[(abs(x - 25) < 15) & (abs(y - 60) < 15)].mean()
    liver = chest.attenuation[(abs(x + 80) < 25) & (y > 140)].mean()
    assert lung + 0.2 < min(heart, liver)
    assert chest.air[(abs(x) < 15)].max() < 0.2


def test_brightness_contrast_and_noise_do_what_they_say() -> None:
    def mean_of(**changes: float) -> float:
        look = Appearance(collimation=0.0, **changes)
        return float(take(dataclasses.replace(HOSPITAL, appearance=look)).pixels.mean())

    assert mean_of(brightness=-0.5) < mean_of() < mean_of(brightness=0.5)
    grainy = take(dataclasses.replace(HOSPITAL, noise=4.0)).pixels.astype(float)
    fine = take(dataclasses.replace(HOSPITAL, noise=0.5)).pixels.astype(float)
    assert abs(np.diff(grainy)).mean() > 2 * abs(np.diff(fine)).mean()


def test_smooth_noise_has_about_mean_0_and_deviation_1() -> None:
    fields = np.stack([smooth_noise(generator(i), (64, 64), 8) for i in range(40)])
    assert abs(fields.mean()) < 0.1
    assert 0.8 < fields.std() < 1.2
    assert fields.dtype == np.float32


@given(st.integers(1, 9), st.integers(12, 30), st.integers(12, 30))
@settings(max_examples=25, deadline=None)
def test_a_box_blur_is_the_mean_of_the_box(radius: int, rows: int, columns: int) -> None:
    image = generator(rows, columns).random((rows, columns), dtype=np.float32)
    padded = np.pad(image, radius, mode="edge").astype(np.float64)
    width = 2 * radius + 1
    boxes = np.lib.stride_tricks.sliding_window_view(padded, (width, width))
    assert box_blur(image, radius) == pytest.approx(boxes.mean(axis=(2, 3)), abs=1e-4)


def test_a_smooth_step_rises_from_0_to_1() -> None:
    steps = smoothstep(np.linspace(-1, 2, 31, dtype=np.float32))
    assert steps[0] == 0
    assert steps[-1] == 1
    assert steps[15] == pytest.approx(0.5)
    assert (np.diff(steps) >= 0).all()
