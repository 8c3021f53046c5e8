"""Figures of the shared model itself: learning curves and calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from wardround_sim.report.drawing import ARM_STYLES, INK, MUTED, draw
from wardround_sim.results import Calibration, ValidationPoint

_SIZE = (3.6, 2.6)
_SPECIFICITY = "#cc79a7"
_MARKED = 40
_Lines = dict[str, tuple[list[float | None], str, str]]


def draw_learning_curves(
    points: Sequence[ValidationPoint], void_places: Sequence[int]
) -> list[Markup]:
    """One figure for AUC, one for loss, one for sensitivity and specificity, against the round."""
    blue = ARM_STYLES["federated"].colour
    auc: _Lines = {"AUC": ([p.auc for p in points], blue, "-")}
    loss: _Lines = {"Loss": ([p.loss for p in points], blue, "-")}
    rates: _Lines = {
        "Sensitivity": ([p.sensitivity for p in points], blue, "-"),
        "Specificity": ([p.specificity for p in points], _SPECIFICITY, "--"),
    }
    rounds = [p.round for p in points]
    titled = (
        ("learning-auc", "AUC", auc),
        ("learning-loss", "Loss (lower is better)", loss),
        ("learning-rates", "Sensitivity and specificity", rates),
    )
    return [
        draw(
            partial(_plot_curve, title=title, rounds=rounds, lines=lines, voids=void_places),
            name=name,
            size_inches=_SIZE,
            title=f"{title} on validation images, by round",
        )
        for name, title, lines in titled
    ]


def _plot_curve(
    axes: Axes, title: str, rounds: list[int], lines: _Lines, voids: Sequence[int]
) -> None:
    axes.set_title(title)
    for label, (values, colour, style) in lines.items():
        heights = [math.nan if value is None else value for value in values]
        marker = "o" if len(rounds) <= _MARKED else ""
        shown = label if len(lines) > 1 else "_"
        axes.plot(rounds, heights, style, color=colour, marker=marker, ms=3.5, lw=1.7, label=shown)
    for i, number in enumerate(voids):
        label = "_" if i else "Void round"
        axes.axvline(number, color="#d55e00", lw=1.0, ls=(0, (2, 2)), label=label)
    if len(lines) > 1 or voids:
        axes.legend(loc="best")
    axes.set_xlabel("Round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def draw_calibration(calibration: Calibration) -> Markup:
    """Observed against predicted frequency with Wilson intervals, and the number of images."""
    return draw(
        partial(_plot_calibration, calibration=calibration),
        name="calibration",
        size_inches=(4.8, 4.4),
        title="Reliability of the shared model: observed against predicted frequency",
    )


def _plot_calibration(axes: Axes, calibration: Calibration) -> None:
    bins = calibration.bins
    most = max((b.count for b in bins), default=1)
    colour = ARM_STYLES["federated"].colour
    for b in bins:
        axes.bar(b.predicted, 0.16 * b.count / most, 0.03, color="#cbd2d9", zorder=1)
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1.0, ls="--", zorder=2, label="Perfect calibration")
    predicted = [b.predicted for b in bins]
    for b in bins:
        low, high = wilson_interval(b.observed * b.count, b.count)
        axes.plot([b.predicted] * 2, [low, high], color=colour, lw=1.2, zorder=3)
    axes.plot(
        predicted,
        [b.observed for b in bins],
        "o-",
        color=colour,
        ms=5,
        lw=1.5,
        zorder=4,
        label="Shared model",
    )
    axes.legend(loc="upper left")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_xlabel("Probability the model gave")
    axes.set_ylabel("Fraction that had the finding", color=INK)


def wilson_interval(successes: float, count: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927, equation for the score interval).

    Raises:
        ValueError: ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count: got {count}, expected 1 or more")
    z = 1.959963984540054
    rate = successes / count
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    spread = math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    half = spread * z / (1 + z * z / count)
    return max(0.0, centre - half), min(1.0, centre + half)
