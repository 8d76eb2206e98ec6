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
    "legend.frameon": False,
}


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


def bars(groups: Sequence[str], series: Mapping[str, Sequence[float]], score: str, label: str) -> str:
    """Bars side by side, one group for each stream (the paper's Figure 2)."""
    colors = _colors(list(series))
    # A number such as 12.3 must fit above every bar.
    across = min(14.0, max(7.0, 0.55 * len(series) * len(groups)))
    with _axes(width=across, height=3.2, label=label) as (figure, axes):
        width = 0.8 / max(3, len(series))
        for index, (name, values) in enumerate(series.items()):
            positions = [group + (index - (len(series) - 1) / 2) * width for group in range(len(groups))]
            drawn = axes.bar(positions, values, width * 0.92, label=name, color=colors[name])
            axes.bar_label(drawn, fmt="%.1f", fontsize=8, color=INK, padding=2)
        lowest = min(value for values in series.values() for value in values)
        axes.set_ylim(bottom=max(0.0, lowest - 15))
        axes.set_xticks(range(len(groups)), [_text(group) for group in groups])
        axes.set_ylabel(f"{score}, pooled")
        _legend(axes)
        return _svg(figure, label)


def over_windows(lines: Sequence[Line], score: str, label: str) -> str:
    """Score against window size on a log axis (the paper's Figure 4). An infinite window holds every frame so far."""
    sizes = sorted({size for line in lines for size in line.x})
    colors = _colors([line.name for line in lines])
    largest = max((size for size in sizes if size < math.inf), default=1.0)

    def position(size: float) -> float:
        return min(size, 2 * largest)

    with _axes(width=7.0, height=3.2, label=label) as (figure, axes):
        for line in lines:
            positions = [position(size) for size in line.x]
            axes.errorbar(
                positions, line.y, line.spread, marker="o", capsize=3, label=line.name, color=colors[line.name]
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks([position(size) for size in sizes], [f"{size:.0f}" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("window in frames")
        axes.set_ylabel(f"{score}, pooled")
        _legend(axes)
        return _svg(figure, label)


def along_the_video(lines: Sequence[Line], quantity: str, label: str) -> str:
    """A quantity of every frame."""
    colors = _colors([line.name for line in lines])
    with _axes(width=9.0, height=2.6, label=label) as (figure, axes):
        for line in lines:
            axes.plot(line.x, line.y, label=line.name, color=colors[line.name], linewidth=1.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("frame")
        axes.set_ylabel(quantity)
        axes.margins(x=0.01)
        _legend(axes)
        return _svg(figure, label)


def _text(name: str) -> str:
    """A name as matplotlib shows it; it would take what is between two dollar signs for a formula."""
    return printable(name).replace("$", r"\$")


def _colors(names: Sequence[str]) -> dict[str, str]:
    """A color for each name. Known methods have the same color in every plot."""
    other_colors = itertools.cycle(OTHERS)
    return {name: COLORS.get(name) or next(other_colors) for name in names}


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, fontsize=9, borderaxespad=0.2)


@contextmanager
def _axes(width: float, height: float, label: str) -> Iterator[tuple[Figure, Axes]]:
    # Ids inside an SVG apply to the whole page, so each plot needs its own.
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": printable(label)}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(axis="y", alpha=0.25)
        yield figure, axes


def _svg(figure: Figure, label: str) -> str:
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Title": printable(label)}
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    drawing = text[text.index("<svg") :].replace(INK, "currentColor")
    return drawing.replace("<svg ", '<svg role="img" ', 1)
