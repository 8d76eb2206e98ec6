"""The report's plots, as SVG inside the page. Text takes the page's color, light or dark."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ttt_cli.core.errors import printable

# Colors that color-blind readers can tell apart (Okabe and Ito) and that show on white and on black. As in the paper's
# Figure 2, methods not trained at test time are blue, offline is yellow, online is green.
COLORS = {
    "main-only": "#56b4e9",
    "joint": "#0072b2",
    "offline": "#e69f00",
    "offline-oracle": "#b8860b",
    "tent": "#cc79a7",
    "online": "#009e73",
    "online+self-train": "#d55e00",
    "online+ln-adapt": "#7570b3",
}
OTHERS = ("#8c8c8c", "#a6761d", "#66a61e", "#e7298a")
# Text and axes are drawn in this color, which no series has. It is then replaced by the page's text color.
INK = "#010203"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # Comes with matplotlib; the page uses its own font.
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}


SMALLEST_SPAN = 2.0
"""An axis of scores is at least so many of their units long, lest nothing look like much."""


@dataclass(frozen=True)
class Plot:
    """A plot of the page."""

    svg: str
    legend: Sequence[tuple[str, str]] = ()
    """Names and colors, which the page writes above the plot, where none of them is cut off."""


@dataclass(frozen=True)
class Line:
    """A curve of one method over windows."""

    name: str
    """Name in the legend; a method's name also decides the color."""
    x: Sequence[float]
    """Window sizes."""
    y: Sequence[float]
    """The value at each x; NaN leaves a gap."""
    spread: Sequence[float] | None = None
    """Half the length of the error bar at each x."""


def dots(
    values: Mapping[str, tuple[float, float]], baseline: str | None, quantity: str, title: str, label: str
) -> Plot:
    """A dot for each method on a stream, with its deviation (the paper's Figure 2).

    values: by method, value and deviation. baseline: the method through whose dot there is a line. title: the stream's.
    """
    colors = colors_of(values)
    with _axes(width=4.4, height=1.1 + 0.36 * len(values), label=label) as (figure, axes):
        if baseline is not None:
            axes.axvline(values[baseline][0], color=colors[baseline], linewidth=1, alpha=0.7)
        for row, (name, (value, deviation)) in enumerate(values.items()):
            axes.errorbar(value, row, xerr=deviation or None, fmt="o", capsize=3, color=colors[name])
            axes.annotate(f"{value:.1f}", (value, row), (0, 6), textcoords="offset points", ha="center", fontsize=9)
        axes.set_ylim(len(values) - 0.4, -0.9)
        axes.set_yticks(range(len(values)), [_text(name) for name in values])
        axes.tick_params(left=False)
        middle, half = sum(axes.get_xlim()) / 2, (axes.get_xlim()[1] - axes.get_xlim()[0]) / 2
        half = max(1.15 * half, SMALLEST_SPAN / 2)
        axes.set_xlim(middle - half, middle + half)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.grid(axis="x", alpha=0.25)
        axes.set_title(_text(title), fontsize=11, loc="left")
        axes.set_xlabel(quantity)
        return Plot(_svg(figure, label))


def over_windows(lines: Sequence[Line], quantity: str, title: str, label: str) -> Plot:
    """Score against window size on a log axis (the paper's Figure 4). An infinite window holds every frame so far."""
    sizes = sorted({size for line in lines for size in line.x})
    colors = colors_of([line.name for line in lines])
    largest = max((size for size in sizes if size < math.inf), default=1.0)

    def position(size: float) -> float:
        return min(size, 2 * largest)

    with _axes(width=4.8, height=3.0, label=label) as (figure, axes):
        for line in lines:
            positions = [position(size) for size in line.x]
            axes.errorbar(positions, line.y, line.spread, marker="o", capsize=3, color=colors[line.name])
        axes.set_xscale("log", base=2)
        axes.set_xticks([position(size) for size in sizes], [f"{size:.0f}" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("window in frames")
        axes.set_ylabel(quantity)
        axes.set_title(_text(title), fontsize=11, loc="left")
        axes.grid(axis="y", alpha=0.25)
        return Plot(_svg(figure, label), list(colors.items()))


def _text(name: str) -> str:
    """A name as matplotlib shows it; it would take what is between two dollar signs for a formula."""
    return printable(name).replace("$", r"\$")


def colors_of(names: Iterable[str]) -> dict[str, str]:
    """A color for each name. Known methods have the same color in every plot."""
    other_colors = itertools.cycle(OTHERS)
    return {name: COLORS.get(name) or next(other_colors) for name in names}


@contextmanager
def _axes(width: float, height: float, label: str) -> Iterator[tuple[Figure, Axes]]:
    # Ids inside an SVG apply to the whole page, so each plot needs its own.
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": printable(label)}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


def _svg(figure: Figure, label: str) -> str:
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Title": printable(label)}
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    drawing = text[text.index("<svg") :].replace(INK, "currentColor")
    return drawing.replace("<svg ", '<svg role="img" ', 1)
