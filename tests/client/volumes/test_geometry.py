from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround_client.quarantine import Reason
from wardround_client.volumes.geometry import Irregular, Plane, Stack, read_plane, stack_planes
from wardround_common.errors import DicomError

AXIAL = "1\\0\\0\\0\\1\\0"


def plane_at(*position: float, orientation: str = AXIAL, spacing: str = "0.5\\0.7") -> Plane:
    text = "\\".join(str(number) for number in position)
    return read_plane(orientation=orientation, position=text, pixel_spacing=spacing)


def stacked(*heights: float, irregular: Irregular = "refuse") -> Stack:
    planes = [plane_at(0, 0, height) for height in heights]
    return stack_planes(planes, rows=10, columns=10, irregular=irregular)


def refusal(*heights: float, irregular: Irregular = "refuse") -> str:
    with pytest.raises(DicomError) as caught:
        stacked(*heights, irregular=irregular)
    return caught.value.reason


def test_a_voxel_lies_where_the_standard_says() -> None:
    planes = [
        read_plane(orientation="0\\1\\0\\0\\0\\-1", position=f"{x}\\-7\\9", pixel_spacing="2\\3")
        for x in (10, 6, 8)
    ]
    stack = stack_planes(planes, rows=4, columns=4, irregular="refuse")
    # Normal is (0,1,0) x (0,0,-1) = (-1,0,0): the first slice is the one of largest x.
    assert stack.order == (0, 2, 1)
    np.testing.assert_allclose(stack.affine @ [0, 0, 0, 1], [10, -7, 9, 1])
    np.testing.assert_allclose(stack.affine @ [2, 3, 1, 1], [6, -7 + 3, 9 - 3 * 2, 1])
    assert np.linalg.det(stack.affine[:3, :3]) != 0


@pytest.mark.parametrize(
    "text", ["nan", "inf", "1_0", "0x1", "", "1,5", "\u0661", "1e7", "--1", "1 2"]
)
def test_what_is_no_decimal_string_is_no_position(text: str) -> None:
    with pytest.raises(DicomError) as caught:
        read_plane(orientation=AXIAL, position=f"1\\{text}\\3", pixel_spacing="1\\1")
    assert caught.value.reason == Reason.BROKEN_GEOMETRY


@pytest.mark.parametrize("missing", ["orientation", "position", "pixel_spacing"])
def test_without_one_of_its_texts_a_slice_has_no_place(missing: str) -> None:
    texts = {"orientation": AXIAL, "position": "1\\2\\3", "pixel_spacing": "1\\1"}
    with pytest.raises(DicomError) as caught:
        read_plane(**(texts | {missing: ""}))
    assert caught.value.reason == Reason.NO_GEOMETRY


@pytest.mark.parametrize(
    "orientation", ["1\\0\\0\\0\\1.01\\0", "1\\0\\0\\0.01\\1\\0", "0\\0\\0\\0\\0\\0", "1\\0\\0"]
)
def test_cosines_must_be_orthonormal(orientation: str) -> None:
    with pytest.raises(DicomError) as caught:
        plane_at(0, 0, 0, orientation=orientation)
    assert caught.value.reason == Reason.BROKEN_GEOMETRY


def test_rounding_is_taken_off_the_cosines() -> None:
    axes = plane_at(0, 0, 0, orientation="0.9995\\0.0\\0\\0.0003\\1.0004\\0").axes
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)


@pytest.mark.parametrize("spacing", ["0\\1", "1\\-1", "1", "1\\1\\1"])
def test_spacings_are_two_and_positive(spacing: str) -> None:
    with pytest.raises(DicomError) as caught:
        plane_at(0, 0, 0, spacing=spacing)
    assert caught.value.reason == Reason.BROKEN_GEOMETRY


@given(
    first=st.floats(-500, 500),
    step=st.floats(0.1, 20),
    order=st.permutations(range(9)),
)
def test_even_slices_come_out_in_order_whatever_their_order(
    first: float, step: float, order: list[int]
) -> None:
    stack = stacked(*(first + step * place for place in order))
    assert [order[k] for k in stack.order] == sorted(order)
    assert stack.flags == ()
    assert stack.spacing_mm == pytest.approx((step, 0.5, 0.7))
    origins = stack.affine[:3, 3] + np.arange(9)[:, None] * stack.affine[:3, 0]
    np.testing.assert_allclose(origins, stack.positions_mm, atol=1e-6)


@pytest.mark.parametrize(
    ("heights", "reason"),
    [
        ((0, 1, 3), Reason.MISSING_SLICE),
        ((0, 5, 10, 25, 30), Reason.MISSING_SLICE),
        ((0, 2, 4, 7, 9, 11), Reason.UNEVEN_SPACING),
        ((0, 5, 10, 15.06, 20.06), Reason.UNEVEN_SPACING),
        ((0, 5, 10, 10.001), Reason.DUPLICATE_POSITION),
        ((0, 5), Reason.TOO_FEW_SLICES),
    ],
)
def test_an_irregular_stack_is_refused(heights: tuple[float, ...], reason: Reason) -> None:
    assert refusal(*heights) == reason


def test_the_study_may_take_an_irregular_stack_and_is_told() -> None:
    assert stacked(0, 1, 3, irregular="resample").flags == ("missing-slice",)
    assert stacked(0, 2, 4, 7, 9, irregular="resample").flags == ("uneven",)
    assert refusal(0, 5, 10, 10.001, irregular="resample") == Reason.DUPLICATE_POSITION


def test_a_gap_too_wide_to_bridge_is_refused_even_then() -> None:
    assert refusal(0, 2, 4, 6, 16, 18, irregular="resample") == Reason.MISSING_SLICE


def test_spacing_even_within_one_percent_is_taken_and_its_rounding_named() -> None:
    assert stacked(0, 5, 10, 15.04, 20.08).flags == ("rounded",)
    assert stacked(0, 0.1, 0.2, 0.305).flags == ()


def test_a_shift_from_slice_to_slice_is_a_tilt() -> None:
    planes = [plane_at(0, 0.1 * k, 2 * k) for k in range(5)]
    with pytest.raises(DicomError) as caught:
        stack_planes(planes, rows=9, columns=9, irregular="refuse")
    assert caught.value.reason == Reason.TILTED
    stack = stack_planes(planes, rows=9, columns=9, irregular="resample")
    assert stack.flags == ("tilted",)
    np.testing.assert_allclose(stack.affine[:3, 0], [0, 0.1, 2])


def test_planes_are_parallel_as_far_as_their_corners_show() -> None:
    turned = "1\\0.0002\\0\\-0.0002\\1\\0"
    planes = [plane_at(0, 0, k, orientation=turned if k == 2 else AXIAL) for k in range(5)]
    with pytest.raises(DicomError) as caught:
        stack_planes(planes, rows=512, columns=512, irregular="resample")
    assert caught.value.reason == Reason.BROKEN_GEOMETRY
    assert stack_planes(planes, rows=8, columns=8, irregular="refuse").flags == ()
