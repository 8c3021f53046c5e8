from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from wardround_client.pixels.layout import layout_of
from wardround_client.pixels.radiograph import SCALE, model_pixels, standardise
from wardround_client.pixels.stored import valid_mask
from wardround_client.quarantine import Reason
from wardround_common.errors import DicomError
from wardround_common.intake_plan import Preprocessing

STRETCH = Preprocessing(rows=24, columns=24, fit="stretch")
PAD = Preprocessing(rows=24, columns=24, fit="pad")
Prepare = Callable[..., NDArray[np.int16]]


@pytest.fixture
def prepared(new_image: Callable[..., Dataset], new_picture: Any) -> Prepare:
    """Prepares the picture under a header with further elements."""

    def run(plan: Preprocessing = STRETCH, **elements: Any) -> NDArray[np.int16]:
        pixels = elements.pop("pixels", new_picture(3))
        image = new_image(pixels, **elements)
        valid = valid_mask(image, layout_of(image), pixels, pixels)
        return model_pixels(image, pixels, valid, plan)

    return run


def _lut(table: NDArray[Any], first: int, *, bits: int = 16) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(table) % 65536, first, bits])
    item.add_new("LUTData", "OW", table.astype("<u2").tobytes())
    return [item]


def test_an_image_has_mean_zero_and_deviation_one(prepared: Prepare) -> None:
    found = prepared().astype(float) / SCALE
    assert abs(found.mean()) < 1e-3
    assert found.std() == pytest.approx(1, abs=1e-3)


def test_monochrome1_is_inverted_exactly_once(prepared: Prepare, new_picture: Any) -> None:
    negative = (4095 - new_picture(3)).astype(np.uint16)
    inverse = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
    assert np.abs(prepared(pixels=negative, **inverse).astype(int) - prepared()).max() <= 1


def test_monochrome1_is_inverted_after_the_window(prepared: Prepare) -> None:
    window = {"WindowCenter": 1800, "WindowWidth": 600}
    positive = prepared(**window).astype(int)
    negated = prepared(**window, PhotometricInterpretation="MONOCHROME1").astype(int)
    assert np.abs(positive + negated).max() <= 1


def test_a_window_limits_the_contrast(prepared: Prepare) -> None:
    assert np.unique(prepared(WindowCenter=1800, WindowWidth=2)).size < np.unique(prepared()).size
    everything = prepared(WindowCenter=2048, WindowWidth=4097).astype(int)
    assert np.abs(everything - prepared()).max() <= 1


def test_a_rescale_with_negative_slope_inverts(prepared: Prepare) -> None:
    rescaled = prepared(RescaleSlope=-2, RescaleIntercept=100).astype(int)
    assert np.abs(rescaled + prepared()).max() <= 1


@pytest.mark.parametrize("sequence", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_lut_sequence_is_applied(prepared: Prepare, sequence: str) -> None:
    falling = np.arange(4096)[::-1]
    looked_up = prepared(**{sequence: _lut(falling, 0)}).astype(int)
    assert np.abs(looked_up + prepared()).max() <= 1


def test_a_lut_of_4096_entries_of_8_bits_does_not_wrap(prepared: Prepare) -> None:
    table = np.arange(4096) >> 4
    found = prepared(VOILUTSequence=_lut(table, 0, bits=8)).astype(int)
    assert np.abs(found - prepared()).max() < SCALE // 20


def test_a_voi_lut_follows_a_rescale(prepared: Prepare) -> None:
    elements = {"RescaleSlope": 1, "RescaleIntercept": -1000}
    falling = _lut(np.arange(4096)[::-1], -1000)
    found = prepared(VOILUTSequence=falling, **elements).astype(int)
    assert np.abs(found + prepared()).max() <= 1


def test_a_lut_shorter_than_it_says_is_refused(prepared: Prepare) -> None:
    sequence = _lut(np.arange(4096), 0)  # every pixel would still find an entry
    sequence[0]["LUTDescriptor"].value = [5000, 0, 16]
    with pytest.raises(DicomError) as caught:
        prepared(VOILUTSequence=sequence)
    assert caught.value.reason == Reason.BROKEN_LUT


def test_padding_pixels_change_nothing_else(prepared: Prepare, new_picture: Any) -> None:
    padded = new_picture(3).copy()
    padded[:10] = 4000
    found = prepared(pixels=padded, PixelPaddingValue=4000).astype(float) / SCALE
    rows = found.shape[0] * 10 // 40
    assert np.all(found[:rows] == 0)
    assert found[rows:].std() == pytest.approx(1, abs=2e-3)
    assert not np.all(prepared(pixels=padded)[:rows] == 0)


def test_pixels_beside_padding_are_not_darkened_by_it() -> None:
    generator = np.random.default_rng(0)
    image = (5000 + generator.integers(0, 9, (60, 60))).astype(np.float32)
    valid = np.ones(image.shape, np.bool_)
    valid[:6] = False  # 60 to 24 rows: 60 % of output row 2 is image
    found = standardise(image, valid, STRETCH).astype(float) / SCALE
    assert np.all(found[:2] == 0) and np.any(found[2] != 0)
    assert abs(found[2].mean()) < 1


def test_a_padding_range_is_left_out(prepared: Prepare, new_picture: Any) -> None:
    padded = new_picture(3).copy()
    padded[:10] = np.arange(32) + 4000
    found = prepared(pixels=padded, PixelPaddingValue=4095, PixelPaddingRangeLimit=4000)
    assert np.all(found[:6] == 0)


def test_pad_keeps_the_aspect_ratio(prepared: Prepare) -> None:
    found = prepared(PAD)  # 40 x 32 becomes 24 x 19
    assert np.all(found[:, :2] == 0) and np.all(found[:, -3:] == 0)
    assert np.any(found[:, 2:-3] != 0, axis=0).all()


@given(scale=st.floats(0.01, 1e4), offset=st.floats(-1e4, 1e4))
def test_brightness_and_contrast_do_not_matter(scale: float, offset: float) -> None:
    image = np.linspace(0, 1, 40 * 32).reshape(40, 32) ** 2
    valid = np.ones(image.shape, np.bool_)
    first = standardise(image.astype(np.float32), valid, PAD).astype(int)
    moved = (image * scale + offset).astype(np.float32)
    if scale > abs(offset) * 1e-3:
        assert np.abs(standardise(moved, valid, PAD) - first).max() < SCALE // 50


def test_polarity_in_an_unusual_representation_is_read(
    new_image: Callable[..., Dataset], new_picture: Any
) -> None:
    pixels = new_picture(3)
    usual = new_image(pixels, PhotometricInterpretation="MONOCHROME1")
    named = new_image(pixels, PhotometricInterpretation=None)
    named.add_new("PhotometricInterpretation", "PN", "MONOCHROME1")
    first, second = (model_pixels(image, pixels, None, STRETCH) for image in (usual, named))
    assert np.array_equal(first, second)
