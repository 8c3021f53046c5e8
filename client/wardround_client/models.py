"""The registry of networks a study can name, all from MONAI, with weights from the study's seed.

Every site builds its own copy of the initial model and the copies must agree byte for byte, on any
processor. Normal deviates go through vectorised logarithms whose last bit differs between
machines; so the weights are uniform deviates, made by integer arithmetic and one multiplication.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from monai.networks.nets.densenet import DenseNet121
from monai.networks.nets.resnet import ResNet
from torch import nn

from wardround_common.errors import ConfigError
from wardround_common.plan import ModelPlan

_CONVOLUTION = (nn.Conv2d, nn.Conv3d)
_BATCH_NORMALISATION = (nn.BatchNorm2d, nn.BatchNorm3d)
_NORMALISATION = (nn.GroupNorm, *_BATCH_NORMALISATION)
_WITH_BIAS = (nn.Linear, *_CONVOLUTION, *_NORMALISATION)
_MOST_GROUPS = 8


def build_model(plan: ModelPlan, *, classes: int, seed: int, dimensions: int = 2) -> nn.Module:
    """Builds the network of ``plan`` for one-channel examples, with ``classes`` outputs.

    Equal seeds give equal bytes; the global random generators are neither read nor moved.

    Args:
        plan: Which network, with which normalisation.
        classes: Number of outputs.
        seed: Decides every weight.
        dimensions: 2 for images, shape (n, 1, rows, columns); 3 for volumes, shape
            (n, 1, slices, rows, columns).

    Raises:
        ConfigError: ``plan`` names an unknown network.
        ValueError: ``dimensions`` is neither 2 nor 3.
    """
    if dimensions not in (2, 3):
        raise ValueError(f"dimensions: got {dimensions}, expected 2 or 3")
    if plan.name not in _NETWORKS:
        known = ", ".join(sorted(_NETWORKS))
        raise ConfigError(f"model.name: got {plan.name!r}, expected one of {known}")
    with torch.random.fork_rng(devices=[]):
        model = _NETWORKS[plan.name](classes, dimensions)
    if plan.normalisation == "group":
        _use_group_normalisation(model)
    _initialise(model, seed)
    if dimensions == 3:
        # Channels last gains nothing here on processors, and costs half as much again in wide nets.
        return model
    # A third faster on processors than the default layout, and the same numbers by name.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def best_device() -> torch.device:
    """The first graphics processor if there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def local_names(model: nn.Module, keep_local: str) -> frozenset[str]:
    """Names in the state of ``model`` that stay at a site: nothing, normalisation or the head.

    Keeping normalisation at home is FedBN (Li et al., ICLR 2021); keeping the head is FedPer
    (Arivazhagan et al., 2019).

    Raises:
        ValueError: ``keep_local`` is none of ``none``, ``normalisation``, ``head``.
    """
    if keep_local == "none":
        return frozenset()
    if keep_local == "normalisation":
        kept = [name for name, layer in model.named_modules() if isinstance(layer, _NORMALISATION)]
    elif keep_local == "head":
        kept = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)][-1:]
    else:
        raise ValueError(f"keep_local: got {keep_local!r}, expected none, normalisation or head")
    return frozenset(name for name in model.state_dict() if name.rpartition(".")[0] in kept)


def _small_cnn(classes: int, dimensions: int) -> nn.Module:
    return _resnet(([16, 32, 64, 96], [1, 1, 1, 1]), classes, dimensions, first_kernel=5)


def _resnet18(classes: int, dimensions: int) -> nn.Module:
    return _resnet(([64, 128, 256, 512], [2, 2, 2, 2]), classes, dimensions, first_kernel=7)


def _resnet(
    stages: tuple[list[int], list[int]], classes: int, dimensions: int, *, first_kernel: int
) -> nn.Module:
    """A residual network; ``stages`` are the planes and the number of blocks of each stage."""
    planes, blocks = stages
    # Shortcut type A of MONAI cuts the gradient of the shortcut; B learns it.
    return ResNet(
        block="basic",
        layers=blocks,
        block_inplanes=planes,
        spatial_dims=dimensions,
        n_input_channels=1,
        conv1_t_size=first_kernel,
        conv1_t_stride=2,
        shortcut_type="B",
        bias_downsample=False,
        num_classes=classes,
    )


def _densenet121(classes: int, dimensions: int) -> nn.Module:
    return DenseNet121(spatial_dims=dimensions, in_channels=1, out_channels=classes)


_NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "small_cnn": _small_cnn,
    "resnet18": _resnet18,
    "densenet121": _densenet121,
}


def _use_group_normalisation(module: nn.Module) -> None:
    # MONAI's ResNet hands its `norm` argument to the first layer only; hence afterwards, for all.
    for name, layer in list(module.named_children()):
        if isinstance(layer, _BATCH_NORMALISATION):
            groups = math.gcd(_MOST_GROUPS, layer.num_features)
            setattr(module, name, nn.GroupNorm(groups, layer.num_features))
        else:
            _use_group_normalisation(layer)


def _initialise(model: nn.Module, seed: int) -> None:
    """Uniform weights after He et al. 2015 (fan out) for convolutions, 1/sqrt(fan in) for heads."""
    generator = np.random.Generator(np.random.Philox(seed))
    for layer in model.modules():
        if isinstance(layer, _CONVOLUTION):
            fan_out = layer.out_channels * math.prod(layer.kernel_size) // layer.groups
            _fill_uniform(layer.weight, math.sqrt(6 / fan_out), generator)
        elif isinstance(layer, nn.Linear):
            _fill_uniform(layer.weight, math.sqrt(1 / layer.in_features), generator)
        elif isinstance(layer, _NORMALISATION):
            nn.init.ones_(layer.weight)
        if isinstance(layer, _WITH_BIAS) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _fill_uniform(weight: torch.Tensor, bound: float, generator: np.random.Generator) -> None:
    values = generator.random(tuple(weight.shape), dtype=np.float32) * 2 - 1
    with torch.no_grad():
        weight.copy_(torch.from_numpy(values * np.float32(bound)))
