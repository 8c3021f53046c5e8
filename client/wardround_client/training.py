"""Local training: a few optimiser steps of a run, the same everywhere for the same seed.

The learning rate is a function of the step counted over the whole run, never of the round, and
AdamW's moments can be handed in and out, so that averaging them with the weights continues one
optimiser instead of restarting it (algorithm ``fedadamw``). Each gradient is clipped to
``gradient_clip``; both moments are weighted means of gradients or of their squares, so the L2
norms of the first moment and of the root of the second never exceed it either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wardround_client.augmentation import augment
from wardround_client.sampling import draw_batches
from wardround_common.errors import RoundError
from wardround_common.plan import Training

Gather = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Indices, int64, to images, float32, shape (n, 1, rows, columns), or to volumes, shape
(n, 1, slices, rows, columns)."""

BETAS = (0.9, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """A site's examples and which of them are for training."""

    gather: Gather
    """Reads images by index."""
    indices: NDArray[np.int64]
    """Training examples, int64, shape (n,)."""
    labels: NDArray[np.int64]
    """Labels of all examples of the site, int64; ``labels[indices]`` are those of training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRange:
    """Which steps of the run to make."""

    first: int
    """Steps made before, counted over the whole run."""
    count: int
    """Steps to make now."""
    total: int
    """Steps of the whole run; the schedule ends there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """AdamW's running means, float32 arrays by parameter name."""

    first: dict[str, NDArray[np.float32]]
    """Mean gradient."""
    root_second: dict[str, NDArray[np.float32]]
    """Root of the mean squared gradient: in the unit of a gradient, so one clip bounds both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What `train_steps` found besides the trained model."""

    moments: Moments | None
    """Moments after the last step; None for SGD."""
    loss: float
    """Mean over the examples seen of class weight times cross-entropy."""
    examples_seen: int
    """Steps times batch size."""


def train_steps(
    model: nn.Module,
    data: TrainingData,
    plan: Training,
    *,
    steps: StepRange,
    seed: tuple[int, ...],
    moments: Moments | None,
) -> TrainingResult:
    """Trains ``model`` in place for ``steps.count`` steps on the device it is on.

    Equal arguments give equal bytes whenever the number of threads is equal. ``seed`` holds
    non-negative integers that differ for each run, site and round. ``moments`` are AdamW's at
    ``steps.first``; None starts them at zero, with the bias correction of a first step.

    Raises:
        ValueError: There is no example, or the names of the moments are not the parameters'.
        RoundError: Training diverged.
    """
    draws, variations = _generators(seed)
    optimiser = _make_optimiser(model, plan, moments, steps.first)
    received = [parameter.detach().clone() for parameter in model.parameters()]
    batches = data.indices[draw_batches(data.labels[data.indices], plan, steps.count, draws)]
    device = received[0].device
    health = torch.zeros(2, dtype=torch.float64, device=device)
    model.train()
    for step, batch in enumerate(batches, steps.first):
        for group in optimiser.param_groups:
            group["lr"] = plan.learning_rate * schedule_factor(plan, step, steps.total)
        optimiser.zero_grad()
        images = torch.from_numpy(data.gather(batch)).to(device)
        if plan.augmentation == "standard":
            images = augment(images, variations)
        loss = _weighted_loss(model, images, torch.from_numpy(data.labels[batch]).to(device), plan)
        loss.backward()  # type: ignore[no-untyped-call]
        _add_proximal_gradient(model, received, plan.proximal_mu)
        norm = nn.utils.clip_grad_norm_(model.parameters(), plan.gradient_clip)
        optimiser.step()
        health += torch.stack([loss.detach(), norm])
    return TrainingResult(
        moments=_export_moments(model, optimiser) if plan.optimiser == "adamw" else None,
        loss=_require_finite(health / steps.count),
        examples_seen=steps.count * plan.batch_size,
    )


def schedule_factor(plan: Training, step: int, total: int) -> float:
    """Learning rate of ``step`` (from 0, over the whole run) as a fraction of the peak.

    A linear rise over the first ``warmup_fraction`` of the run, then constant or half a cosine
    down to zero (Loshchilov and Hutter, ICLR 2017, without restarts).
    """
    warmup = round(plan.warmup_fraction * total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if plan.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))


def _generators(seed: tuple[int, ...]) -> tuple[np.random.Generator, np.random.Generator]:
    # Two streams: what a step draws must not depend on whether images are varied.
    first, second = np.random.SeedSequence(seed).spawn(2)
    return np.random.Generator(np.random.Philox(first)), np.random.Generator(
        np.random.Philox(second)
    )


def _weighted_loss(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, plan: Training
) -> torch.Tensor:
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=images.is_cuda):
        logits = model(images)
    losses = nn.functional.cross_entropy(logits.float(), labels, reduction="none")
    if plan.class_weights:
        # Not divided by the weights' sum: that would cancel them where a site has one class.
        losses = losses * losses.new_tensor(plan.class_weights)[labels]
    return losses.mean()


def _add_proximal_gradient(model: nn.Module, received: list[torch.Tensor], mu: float) -> None:
    """FedProx (Li et al., MLSys 2020, eq. 2): gradient of mu / 2 times the squared distance."""
    if mu == 0:
        return
    for parameter, start in zip(model.parameters(), received, strict=True):
        if parameter.grad is not None:
            parameter.grad.add_(parameter.detach() - start, alpha=mu)


def _require_finite(mean_loss_and_norm: torch.Tensor) -> float:
    loss, norm = mean_loss_and_norm.tolist()
    if not math.isfinite(loss + norm):
        raise RoundError(
            "training: got a loss or gradient that is not finite, expected numbers; "
            "lower training.learning_rate"
        )
    return float(loss)


def _make_optimiser(
    model: nn.Module, plan: Training, moments: Moments | None, first_step: int
) -> torch.optim.Optimizer:
    parameters = dict(model.named_parameters())
    # Decay shrinks weights only: on scales and offsets it would pull normalisation to zero.
    groups: list[dict[str, object]] = [
        {
            "params": [value for value in parameters.values() if value.ndim > 1],
            "weight_decay": plan.weight_decay,
        },
        {
            "params": [value for value in parameters.values() if value.ndim <= 1],
            "weight_decay": 0.0,
        },
    ]
    if plan.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=plan.momentum, foreach=True)
    optimiser = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, foreach=True)
    if moments is not None:
        _load_moments(optimiser, parameters, moments, first_step)
    return optimiser


def _load_moments(
    optimiser: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    moments: Moments,
    step: int,
) -> None:
    if not parameters.keys() == moments.first.keys() == moments.root_second.keys():
        raise ValueError("moments: got other names than the model's parameters, expected the same")
    for name, parameter in parameters.items():
        optimiser.state[parameter] = {
            "step": torch.tensor(float(step)),
            "exp_avg": torch.empty_like(parameter).copy_(torch.tensor(moments.first[name])),
            "exp_avg_sq": torch.empty_like(parameter)
            .copy_(torch.tensor(moments.root_second[name]))
            .square_(),
        }


def _export_moments(model: nn.Module, optimiser: torch.optim.Optimizer) -> Moments:
    state = {name: optimiser.state[value] for name, value in model.named_parameters()}
    return Moments(
        first={name: _to_array(values["exp_avg"]) for name, values in state.items()},
        root_second={
            name: _to_array(values["exp_avg_sq"].sqrt()) for name, values in state.items()
        },
    )


def _to_array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return np.array(tensor.cpu().numpy(), dtype=np.float32, order="C")
