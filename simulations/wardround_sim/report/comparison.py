"""Figures that set the shared model beside the others: AUC by hospital, and ROC curves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from markupsafe import Markup
from matplotlib.axes import Axes

from wardround_sim.report.curves import wilson_interval
from wardround_sim.report.drawing import ARM_STYLES, INK, MUTED, draw
from wardround_sim.report.words import (
    ARM_LABELS,
    SCOPE_LABELS,
    explain_missing_auc,
    format_auc,
)
from wardround_sim.results import ALL, Results

_COMPACT = 12
MAXIMUM_PANELS = 7


def draw_forest(results: Results) -> Markup:
    """AUC with its interval for every hospital and arm, one row a hospital.

    Past 12 hospitals only the shared model keeps its interval, so that the rows stay legible.
    """
    scopes = results.scopes
    height = 0.2 if _is_compact(results) else 0.16 + 0.15 * len(results.arms)
    return draw(
        partial(_plot_forest, results=results, scopes=scopes),
        name="forest",
        size_inches=(7.6, 1.1 + height * len(scopes)),
        title="AUC with 95 % interval by hospital and by way of training; values in the table",
    )


def _is_compact(results: Results) -> bool:
    return len(results.sites) > _COMPACT


def _plot_forest(axes: Axes, results: Results, scopes: Sequence[str]) -> None:
    lowest = _lowest(results)
    for row, scope in enumerate(scopes):
        drawn = [_plot_auc(axes, results, scope, arm, row) for arm in results.arms]
        if not any(drawn):
            said = explain_missing_auc(results, scope)
            axes.text(lowest + 0.01, row, said, va="center", color=MUTED, fontsize=8).set_bbox(
                {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
            )
    for arm in results.arms:
        style = ARM_STYLES[arm]
        axes.plot([], [], style.marker, color=style.colour, ms=5, label=ARM_LABELS[arm])
    sums = len(scopes) - len(results.sites)
    axes.axhspan(-0.5, sums - 0.5, color="#f0f4f8", zorder=0)
    axes.set_yticks(
        range(len(scopes)), [SCOPE_LABELS.get(scope, scope) for scope in scopes], color=INK
    )
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(lowest, 1.005), ylim=(len(scopes) - 0.5, -0.5), xlabel="AUC on test images")
    axes.grid(axis="y", visible=False)
    if lowest < 0.5:
        axes.axvline(0.5, color=MUTED, lw=0.9, ls=":")
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=len(results.arms),
        columnspacing=1.0,
        handletextpad=0.2,
    )


def _plot_auc(axes: Axes, results: Results, scope: str, arm: str, row: int) -> bool:
    """Draws one arm of one row; False where it has no AUC."""
    found = results.auc[arm].get(scope)
    if found is None:
        return False
    arms, style, compact = results.arms, ARM_STYLES[arm], _is_compact(results)
    spread = 0.0 if compact else 0.7 / len(arms)
    height = row + (arms.index(arm) - (len(arms) - 1) / 2) * spread
    if arm == "federated" or not compact:
        axes.plot([found.low, found.high], [height] * 2, color=style.colour, lw=1.8)
    size, above = (4.0 if compact else 5.5), 4 if arm == "federated" else 3
    axes.plot([found.auc], [height], style.marker, color=style.colour, ms=size, zorder=above)
    return True


def _lowest(results: Results) -> float:
    """Left end of the AUC axis: just below everything drawn."""
    compact = _is_compact(results)
    ends = [
        found.auc if compact and arm != "federated" else found.low
        for arm, scopes in results.auc.items()
        for found in scopes.values()
        if found is not None
    ]
    return max(0.0, min(ends, default=0.5) - 0.02)


def draw_roc_panels(results: Results) -> list[Markup]:
    """ROC over all hospitals, then of up to seven of them: those with the lowest shared AUC."""
    return [
        draw(
            partial(_plot_roc, results=results, scope=scope),
            name=f"roc-{i}",
            size_inches=(2.8, 3.0),
            title=f"ROC curves, {'all hospitals' if scope == ALL else scope}",
        )
        for i, scope in enumerate([ALL, *roc_sites(results)])
        if _has_roc(results, scope)
    ]


def roc_sites(results: Results) -> tuple[str, ...]:
    """The hospitals whose ROC curves are drawn, in the order of the report."""
    federated = results.auc.get("federated", {})
    scored = {s: a.auc for s in results.site_names if (a := federated.get(s)) is not None}
    drawable = sorted((s for s in scored if _has_roc(results, s)), key=lambda s: scored[s])
    kept = set(drawable[:MAXIMUM_PANELS])
    return tuple(site for site in results.site_names if site in kept)


def _has_roc(results: Results, scope: str) -> bool:
    return results.roc.get("federated", {}).get(scope) is not None


def _plot_roc(axes: Axes, results: Results, scope: str) -> None:
    axes.set_title("All hospitals" if scope == ALL else scope)
    axes.plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls=(0, (1, 2)))
    _plot_sensitivity_band(axes, results, scope)
    for arm in reversed(results.arms):
        curve, found = results.roc.get(arm, {}).get(scope), results.auc[arm].get(scope)
        if curve is None or found is None:
            continue
        style = ARM_STYLES[arm]
        label = f"{format_auc(found.auc)} ({format_auc(found.low)}\u2013{format_auc(found.high)})"
        axes.plot(curve.fpr, curve.tpr, style.line, color=style.colour, lw=1.6, label=label)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="lower right", fontsize=8, handlelength=1.6)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_xlabel("1 \u2212 specificity")
    axes.set_ylabel("Sensitivity")


def _plot_sensitivity_band(axes: Axes, results: Results, scope: str) -> None:
    """Wilson interval of the shared model's sensitivity at each cut-off."""
    curve, found = results.roc["federated"].get(scope), results.auc["federated"].get(scope)
    if curve is None or found is None or not found.positives:
        return
    bands = [wilson_interval(rate * found.positives, found.positives) for rate in curve.tpr]
    colour = ARM_STYLES["federated"].colour
    lows, highs = zip(*bands, strict=True)
    axes.fill_between(curve.fpr, lows, highs, color=colour, alpha=0.14, lw=0)
