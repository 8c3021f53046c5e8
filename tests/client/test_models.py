"""Networks: the same bytes for a seed, GroupNorm everywhere, what stays at home."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import nn

from wardround_client.models import build_model, local_names
from wardround_client.parameters import export_parameters
from wardround_common.errors import ConfigError
from wardround_common.plan import ModelPlan

NETWORKS = ("small_cnn", "resnet18", "densenet121")


def _sha256(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(export_parameters(model).items()):
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("normalisation", ["group", "batch"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_maps_one_channel_images_to_one_logit_a_class(
    name: str, normalisation: str
) -> None:
    plan = ModelPlan(name=name, normalisation=normalisation)  # type: ignore[arg-type]
    model = build_model(plan, classes=2, seed=1).eval()
    with torch.inference_mode():
        logits = model(torch.randn(2, 1, 48, 40))
    assert logits.shape == (2, 2)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("normalisation", ["group", "batch"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_maps_one_channel_volumes_too(name: str, normalisation: str) -> None:
    plan = ModelPlan(name=name, normalisation=normalisation)  # type: ignore[arg-type]
    model = build_model(plan, classes=2, seed=1, dimensions=3).eval()
    with torch.inference_mode():
        logits = model(torch.randn(2, 1, 32, 40, 36))
    assert logits.shape == (2, 2)
    assert torch.isfinite(logits).all()
    assert not any(isinstance(layer, nn.Conv2d) for layer in model.modules())


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_group_normalisation_leaves_no_batch_normalisation_behind(
    name: str, dimensions: int
) -> None:
    model = build_model(ModelPlan(name=name), classes=2, seed=1, dimensions=dimensions)
    layers = list(model.modules())
    assert not any(isinstance(layer, (nn.BatchNorm2d, nn.BatchNorm3d)) for layer in layers)
    assert any(isinstance(layer, nn.GroupNorm) for layer in layers)
    assert not list(model.buffers())


def test_the_initial_bytes_depend_on_the_seed_alone() -> None:
    torch.manual_seed(3)
    first = _sha256(build_model(ModelPlan(), classes=2, seed=11))
    torch.manual_seed(4)
    assert _sha256(build_model(ModelPlan(), classes=2, seed=11)) == first
    assert _sha256(build_model(ModelPlan(), classes=2, seed=12)) != first


def test_building_a_model_does_not_move_the_global_generator() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    build_model(ModelPlan(), classes=2, seed=11)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(
    ("name", "dimensions", "expected"),
    [
        (
            "small_cnn",
            2,
            "f17721d33260f3a39c8c27a87bd003822d2c173939075b01fc8a753429eeb841",
        ),
        (
            "resnet18",
            2,
            "04496b060df83e5a46fbcb506c37508f9b23a2debefc077dba2f75ce8e436446",
        ),
        (
            "densenet121",
            2,
            "fe6770cb5c49e4ca7b02416fddfba5cd698944c604abeaa9067099fc94f6c840",
        ),
        ("small_cnn", 3, "92817c39193e1734255413c91a7a2d06a87b36797616c30ded93d95a4d60782f"),
        ("densenet121", 3, "507e42069f87272c53e30d1d0826bd760f69a0d4a8bc80d7b2b5d9e139ba1be8"),
    ],
)
def test_the_initial_model_of_a_study_is_the_same_on_every_machine_and_version(
    name: str, dimensions: int, expected: str
) -> None:
    model = build_model(ModelPlan(name=name), classes=2, seed=2026, dimensions=dimensions)
    assert _sha256(model) == expected


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_weight_is_initialised_from_the_seed(dimensions: int) -> None:
    plan = ModelPlan(name="densenet121")
    first, second = (
        export_parameters(build_model(plan, classes=2, seed=seed, dimensions=dimensions))
        for seed in (1, 2)
    )
    # In float32 some of millions of entries are equal by chance; whole arrays are not.
    same = [n for n in first if first[n].ndim > 1 and (first[n] == second[n]).mean() > 1e-4]
    biases = [name for name in first if first[name].ndim == 1]
    assert not same
    assert all((first[name] == second[name]).all() for name in biases)


def test_an_unknown_network_is_refused_with_the_known_names() -> None:
    with pytest.raises(ConfigError, match=r"'unet', expected one of densenet121, resnet18, small"):
        build_model(ModelPlan(name="unet"), classes=2, seed=1)


def test_a_model_of_neither_two_nor_three_dimensions_is_misuse() -> None:
    with pytest.raises(ValueError, match="dimensions: got 4, expected 2 or 3"):
        build_model(ModelPlan(), classes=2, seed=1, dimensions=4)


@pytest.mark.parametrize(("dimensions", "kind"), [(2, nn.BatchNorm2d), (3, nn.BatchNorm3d)])
def test_keeping_normalisation_local_names_all_of_its_state_and_nothing_else(
    dimensions: int, kind: type[nn.Module]
) -> None:
    plan = ModelPlan(normalisation="batch")
    model = build_model(plan, classes=2, seed=1, dimensions=dimensions)
    kept = local_names(model, "normalisation")
    layers = [layer for layer in model.modules() if isinstance(layer, kind)]
    assert len(kept) == sum(len(layer.state_dict()) for layer in layers)
    assert {"bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"} <= kept
    assert not any(name.startswith(("conv1", "fc")) for name in kept)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("small_cnn", {"fc.weight", "fc.bias"}),
        ("densenet121", {"class_layers.out.weight", "class_layers.out.bias"}),
    ],
)
def test_keeping_the_head_local_names_the_last_layer(name: str, head: set[str]) -> None:
    model = build_model(ModelPlan(name=name), classes=2, seed=1)
    assert local_names(model, "head") == head
    assert local_names(model, "none") == frozenset()


def test_an_unknown_choice_of_local_parameters_is_misuse() -> None:
    model = build_model(ModelPlan(), classes=2, seed=1)
    with pytest.raises(ValueError, match="expected none, normalisation or head"):
        local_names(model, "everything")
