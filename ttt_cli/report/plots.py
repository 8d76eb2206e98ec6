"""The report's plots, as SVG inside the page. Text takes the page's color, light or dark."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
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


@dataclass(frozen=True)
class Plot:
    """A plot of the page."""

    svg: str
    legend: Sequence[tuple[str, str]] = ()
    """Names and colors, which the page writes above the plot, where none of them is cut off."""


@dataclass(frozen=True)
class Line:
    """A curve of one method along the video or over windows."""

    name: str
    """Name in the legend; a method's name also decides the color."""
    x: Sequence[float]
    """Frames or window sizes."""
    y: Sequence[float]
    """The value at each x; NaN leaves a gap."""
    spread: Sequence[float] | None = None
    """Half the length of the error bar at each x."""


def dots(
    groups: Sequence[str],
    series: Mapping[str, Sequence[tuple[float, float]]],
    baseline: str,
    quantity: str,
    label: str,
) -> Plot:
    """A dot for each method, with its deviation, in a column for each stream (the paper's Figure 2).

    series: by method, value and deviation on each stream. baseline: the method through whose dots there is a line.
    """
    colors, names = _colors(list(series)), list(series)
    height = 0.9 + 0.36 * len(names)
    width = min(16.0, 2.2 + 2.9 * len(groups))
    with _axes(width, height, label, columns=len(groups)) as (figure, all_axes):
        for number, (group, axes) in enumerate(zip(groups, all_axes, strict=True)):
            if baseline in series:
                axes.axvline(series[baseline][number][0], color=colors[baseline], linewidth=1, alpha=0.7)
            for row, name in enumerate(names):
                value, deviation = series[name][number]
                axes.errorbar(value, row, xerr=deviation or None, fmt="o", capsize=3, color=colors[name])
                axes.annotate(f"{value:.1f}", (value, row), (0, 6), textcoords="offset points", ha="center", fontsize=8)
            axes.set_ylim(len(names) - 0.4, -0.9)
            axes.set_yticks(range(len(names)), [_text(name) for name in names])
            axes.tick_params(left=False)
            axes.margins(x=0.18)
            axes.set_title(_text(group), fontsize=10)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
            axes.grid(axis="x", alpha=0.25)
        figure.supxlabel(quantity, fontsize=10)
        return Plot(_svg(figure, label))


def over_windows(lines: Sequence[Line], quantity: str, label: str) -> Plot:
    """Score against window size on a log axis (the paper's Figure 4). An infinite window holds every frame so far."""
    sizes = sorted({size for line in lines for size in line.x})
    colors = _colors([line.name for line in lines])
    largest = max((size for size in sizes if size < math.inf), default=1.0)

    def position(size: float) -> float:
        return min(size, 2 * largest)

    with _axes(width=7.0, height=3.0, label=label) as (figure, (axes,)):
        for line in lines:
            positions = [position(size) for size in line.x]
            axes.errorbar(positions, line.y, line.spread, marker="o", capsize=3, color=colors[line.name])
        axes.set_xscale("log", base=2)
        axes.set_xticks([position(size) for size in sizes], [f"{size:.0f}" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("window in frames")
        axes.set_ylabel(_text(quantity))
        axes.grid(axis="y", alpha=0.25)
        return Plot(_svg(figure, label), list(colors.items()))


def along_the_video(lines: Sequence[Line], quantity: str, label: str, from_zero: bool = False) -> Plot:
    """A quantity of every frame."""
    colors = _colors([line.name for line in lines])
    with _axes(width=10.0, height=2.5, label=label) as (figure, (axes,)):
        for line in lines:
            axes.plot(line.x, line.y, color=colors[line.name], linewidth=1.4)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("frame")
        axes.set_title(_text(quantity), fontsize=10, loc="left")
        axes.margins(x=0.01)
        if from_zero:
            axes.set_ylim(bottom=0)
        axes.grid(axis="y", alpha=0.25)
        return Plot(_svg(figure, label), list(colors.items()))


def _text(name: str) -> str:
    """A name as matplotlib shows it; it would take what is between two dollar signs for a formula."""
    return printable(name).replace("$", r"\$")


def _colors(names: Sequence[str]) -> dict[str, str]:
    """A color for each name. Known methods have the same color in every plot."""
    other_colors = itertools.cycle(OTHERS)
    return {name: COLORS.get(name) or next(other_colors) for name in names}


@contextmanager
def _axes(width: float, height: float, label: str, columns: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with so many axes side by side, which share their rows."""
    # Ids inside an SVG apply to the whole page, so each plot needs its own.
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": printable(label)}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(1, columns, sharey=True, squeeze=False)[0])


def _svg(figure: Figure, label: str) -> str:
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Title": printable(label)}
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    drawing = text[text.index("<svg") :].replace(INK, "currentColor")
    return drawing.replace("<svg ", '<svg role="img" ', 1)
