"""Model state to named arrays and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from wardround_client.models import build_model
from wardround_client.parameters import export_buffers, export_parameters, load_arrays
from wardround_common.errors import ProtocolError
from wardround_common.plan import ModelPlan


@pytest.fixture
def model() -> nn.Module:
    return build_model(ModelPlan(normalisation="batch"), classes=2, seed=1)


def test_what_is_exported_and_loaded_elsewhere_gives_the_same_outputs(model: nn.Module) -> None:
    images = torch.randn(3, 1, 32, 32)
    model.train()
    model(images)
    copy = build_model(ModelPlan(normalisation="batch"), classes=2, seed=2)
    load_arrays(copy, {**export_parameters(model), **export_buffers(model)})
    assert torch.equal(copy.eval()(images), model.eval()(images))


def test_exported_arrays_are_contiguous_float32_copies(model: nn.Module) -> None:
    arrays = {**export_parameters(model), **export_buffers(model)}
    before = arrays["fc.weight"].copy()
    with torch.no_grad():
        model.get_parameter("fc.weight").add_(1)
    assert all(array.dtype == np.float32 for array in arrays.values())
    assert all(array.flags.c_contiguous for array in arrays.values())
    assert (arrays["fc.weight"] == before).all()


def test_loading_copies_so_that_later_training_leaves_the_callers_arrays(model: nn.Module) -> None:
    arrays = export_parameters(model)
    load_arrays(model, arrays)
    before = arrays["fc.weight"].copy()
    with torch.no_grad():
        model.get_parameter("fc.weight").add_(1)
    assert (arrays["fc.weight"] == before).all()


def test_integer_counters_are_never_exported(model: nn.Module) -> None:
    names = set(export_buffers(model))
    assert names
    assert not any(name.endswith("num_batches_tracked") for name in names)


def test_arrays_that_are_not_given_stay_as_they_are(model: nn.Module) -> None:
    before = export_parameters(model)
    load_arrays(model, {"fc.bias": np.ones(2, np.float32)})
    after = export_parameters(model)
    assert [name for name in before if (before[name] != after[name]).any()] == ["fc.bias"]


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("fc.bias", np.zeros(3, np.float32), r"shape \(3,\), expected float32 of shape \(2,\)"),
        ("fc.bias", np.zeros(2, np.float64), "got float64"),
        ("fc.bias", np.array([0, np.nan], np.float32), "not finite"),
        ("fc.scale", np.zeros(2, np.float32), "a name this model lacks"),
        ("bn1.num_batches_tracked", np.zeros((), np.float32), "a name this model lacks"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_and_nothing_is_loaded(
    model: nn.Module, name: str, array: np.ndarray, message: str
) -> None:
    before = export_parameters(model)
    with pytest.raises(ProtocolError, match=message):
        load_arrays(model, {"fc.weight": np.ones_like(before["fc.weight"]), name: array})
    after = export_parameters(model)
    assert all((before[key] == after[key]).all() for key in before)
