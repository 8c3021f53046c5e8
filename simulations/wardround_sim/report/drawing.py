"""How every figure of the report looks, and how it becomes inline SVG.

The same results give the same bytes: identifiers are hashed with a fixed salt, and metadata
with its date is dropped. Text stays text, so it can be searched, read aloud and takes the page's
font. Colours are those of Okabe and Ito (2008), told apart with any colour vision; markers differ
as well.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#66727f"
GRID = "#e3e7eb"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "wardround",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": INK,
    "axes.labelsize": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmStyle:
    """How one arm is drawn, everywhere."""

    colour: str
    """Hexadecimal RGB."""
    marker: str
    """Marker of matplotlib."""
    line: str
    """Line style of matplotlib."""


ARM_STYLES = {
    "federated": ArmStyle(colour="#0072b2", marker="o", line="-"),
    "local": ArmStyle(colour="#d55e00", marker="s", line="--"),
    "pooled": ArmStyle(colour="#4d4d4d", marker="D", line=":"),
    "fine_tuned": ArmStyle(colour="#009e73", marker="^", line="-."),
}


def draw(
    plot: Callable[[Axes], None], *, name: str, size_inches: tuple[float, float], title: str
) -> Markup:
    """Draws one pair of axes and returns it as an ``svg`` element for the page.

    Args:
        plot: Draws into the axes it is given.
        name: Prefix of the element's identifiers; unique in the page.
        size_inches: Width and height of the figure, inches.
        title: What the figure shows, for readers who cannot see it.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size_inches, layout="constrained")
        FigureCanvasSVG(figure)
        plot(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True)
    return _inline(buffer.getvalue(), name, title)


def _inline(document: str, name: str, title: str) -> Markup:
    """Keeps the ``svg`` element, makes its identifiers the figure's own, names it."""
    element = document[document.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, count=1, flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'((?:\bid|xlink:href)="#?|url\(#)', rf"\g<1>{name}-", element)
    label = Markup('<svg role="img" aria-label="{}"').format(title)
    return label + Markup(element.removeprefix("<svg"))  # noqa: S704 (matplotlib escapes all text)
