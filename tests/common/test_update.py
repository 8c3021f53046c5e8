from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.vectors.loading import ours

from wardround_common.errors import ProtocolError
from wardround_common.update import (
    MAXIMUM_VALUES,
    Shapes,
    flatten,
    groups_sha256,
    model_sha256,
    unflatten,
)

ARRAYS = st.dictionaries(
    st.text(max_size=6),
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)),
    max_size=5,
)
MODEL = {"weight": np.array([[1.0], [-2.5]], np.float32), "bias": np.array(0.5, np.float32)}


@given(ARRAYS)
def test_named_arrays_become_a_vector_and_the_same_arrays_again(arrays) -> None:
    shapes = Shapes.of(arrays)
    vector = flatten(arrays, shapes)
    assert vector.dtype == np.float32 and vector.shape == (shapes.size,)
    found = unflatten(vector, shapes)
    assert list(found) == sorted(arrays)
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_the_order_of_the_vector_is_that_of_the_names() -> None:
    assert flatten(MODEL, Shapes.of(MODEL)).tolist() == [0.5, 1.0, -2.5]


@pytest.mark.parametrize(
    "changed",
    [
        {"weight": MODEL["weight"]},
        {**MODEL, "extra": MODEL["bias"]},
        {**MODEL, "bias": np.zeros(1, np.float32)},
        {**MODEL, "bias": np.array(0.5)},
        {**MODEL, "bias": np.array(1, np.int64)},
        {**MODEL, "weight": np.zeros((1, 2), np.float32)},
        {},
    ],
)
def test_other_names_types_or_shapes_are_refused(changed: dict[str, np.ndarray]) -> None:
    with pytest.raises(ProtocolError, match="model: "):
        flatten(changed, Shapes.of(MODEL))


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 1), ()])
def test_a_vector_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError, match=r"expected \(3,\)"):
        unflatten(np.zeros(shape, np.float32), Shapes.of(MODEL))


@pytest.mark.parametrize(
    "items",
    [
        (("b", (1,)), ("a", (1,))),
        (("a", (1,)), ("a", (1,))),
        (("a", (-1,)),),
        (("a", (-1, -1)),),
        (("a", (MAXIMUM_VALUES + 1,)),),
        (("a", (0, 1 << 62)),),
        (("a", (1 << 20, 1 << 20)),),
        (("a", (MAXIMUM_VALUES,)), ("b", (1,))),
        (("a", (1,) * 9),),
        (("a", (2,) * 100_000),),
    ],
)
def test_impossible_shapes_are_refused(items: tuple[tuple[str, tuple[int, ...]], ...]) -> None:
    with pytest.raises(ProtocolError, match="model: got"):
        Shapes(items)


def test_the_hash_of_a_model_is_the_known_one() -> None:
    assert model_sha256(MODEL).hex() == ours()["model_hash"]["sha256"]
    assert model_sha256(dict(reversed(MODEL.items()))) == model_sha256(MODEL)


def test_the_hash_of_a_model_sees_names_shapes_values_and_groups() -> None:
    flat = {**MODEL, "weight": MODEL["weight"].reshape(2)}
    turned = {**MODEL, "weight": MODEL["weight"].reshape(1, 2)}
    renamed = {"weights": MODEL["weight"], "bias": MODEL["bias"]}
    zero = {**MODEL, "bias": np.array(-0.0, np.float32)}
    nought = {**MODEL, "bias": np.array(0.0, np.float32)}
    models = [MODEL, flat, turned, renamed, zero, nought, {}, {"a": np.zeros(0, np.float32)}]
    hashes = {model_sha256(model) for model in models}
    hashes |= {groups_sha256({"parameters": MODEL}), groups_sha256({"buffers": MODEL})}
    assert len(hashes) == len(models) + 2


def test_the_hash_of_a_model_does_not_depend_on_its_place_in_memory() -> None:
    wide = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert model_sha256({"a": wide[:, ::2]}) == model_sha256({"a": wide[:, ::2].copy()})
    assert model_sha256({"a": wide.T}) == model_sha256({"a": wide.T.copy()})
