"""What it costs to adapt less often, and what of the gain is left: a table, and a plot of one curve for each row.

A row is weights, a method, the fixed method over which it gains, and a stream of the recipe. The gain of a step before
every frame is 100 %. The fixed pass and the adapted one take turns, so that both see the same machine. Times are of the
processor, which other processes hardly disturb; a budget goes by the clock on the wall.

python benchmarks/pareto.py --data data --row street-plain online joint night --plot docs/pareto.png

With `--points FILE` finished passes are kept there, and are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from shift_recipes import open_stream, read_streams

from ttt_cli.adaptation.online import Adapter
from ttt_cli.datasets.stream import Stream
from ttt_cli.model.opening import open_weights
from ttt_cli.model.weights import Weights
from ttt_cli.run.overrides import AdaptationOverrides, Overrides
from ttt_cli.run.settings import resolve, task_of
from ttt_cli.video.transforms import for_model

CPU = torch.device("cpu")
EVERY = (1, 2, 4, 8, 16, 32)
BUDGETS = (2.0, 1.5, 1.25, 1.1, 1.05)
TICKS = (1, 1.1, 1.25, 1.5, 2, 3, 4, 6, 8)


class Row(NamedTuple):
    """What a curve is about."""

    weights: str
    method: str
    base: str
    stream: str

    @property
    def title(self) -> str:
        """In few words."""
        return f"{Path(self.weights).stem}, {self.method} over {self.base}, {self.stream}"


@dataclass(frozen=True)
class Point:
    """One way to space the steps of a row."""

    every: int
    """0 with a budget."""
    budget: float
    """0 without one."""
    frames: int
    """Adapted to."""
    score: float
    """mIoU in percent, pooled."""
    base_score: float
    """That of the base."""
    time: float
    """Over that of the base."""

    @property
    def gain(self) -> float:
        """Points of mIoU above the base."""
        return self.score - self.base_score

    @property
    def label(self) -> str:
        """The option."""
        return f"budget {self.budget:g}" if self.budget else f"every {self.every}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--row", nargs=4, action="append", required=True, metavar=("WEIGHTS", "METHOD", "BASE", "STREAM")
    )
    parser.add_argument("--recipe", type=Path, default=Path("recipes/shifts.toml"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--every", type=int, nargs="*", default=EVERY)
    parser.add_argument("--budgets", type=float, nargs="*", default=BUDGETS)
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--points", type=Path, metavar="FILE", help="JSON lines; goes on with what is there")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if 1 not in arguments.every:
        parser.error("--every needs 1, a step before every frame, whose gain is 100 %")
    spacings = [(every, 0.0) for every in sorted(arguments.every)] + [(0, budget) for budget in arguments.budgets]
    curves: dict[Row, list[Point]] = {}
    for row in map(Row._make, arguments.row):
        recipe = read_streams(arguments.recipe, [row.stream])[0]
        stream = open_stream(recipe, arguments.data, max_frames=arguments.max_frames)
        known = kept(arguments.points, row)
        points = curves[row] = []
        print(f"{row.title}\n{'':>12s}  frames   mIoU    gain  of all    time")
        for spacing in spacings:
            point = known.get(spacing) or measured(row, stream, *spacing)
            if arguments.points and spacing not in known:
                keep(arguments.points, row, point)
            points.append(point)
            print(f"{point.label:>12s} {point.frames:7d} {point.score:6.2f} {point.gain:+7.2f}", end="")
            print(f" {shares(points)[-1]:5.0f} % {point.time:7.2f}", flush=True)
    if arguments.plot:
        plot(curves).savefig(arguments.plot, dpi=110)


def kept(path: Path | None, row: Row) -> dict[tuple[int, float], Point]:
    """The points of a row in a file, by how often it steps."""
    if path is None or not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    points = [Point(**line["point"]) for line in lines if Row(**line["row"]) == row]
    return {(point.every, point.budget): point for point in points}


def keep(path: Path, row: Row, point: Point) -> None:
    """Adds a point to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"row": row._asdict(), "point": asdict(point)}) + "\n")


def measured(row: Row, stream: Stream, every: int, budget: float) -> Point:
    """A pass of the base, and then one of the method."""
    weights = open_weights(row.weights)
    _, base_score, base_seconds = passed(weights, stream, AdaptationOverrides(method=row.base))
    pace = AdaptationOverrides(method=row.method, **({"budget": budget} if budget else {"every": every}))
    frames, score, seconds = passed(weights, stream, pace)
    return Point(every, budget, frames, score, base_score, seconds / base_seconds)


def passed(weights: Weights, stream: Stream, chosen: AdaptationOverrides) -> tuple[int, float, float]:
    """One pass of a method: frames adapted to, mIoU in percent, and seconds of the processor."""
    settings = resolve(weights, None, Overrides(adaptation=chosen), CPU)
    task = task_of(weights, settings)
    adapter = Adapter(weights.load(), task, settings.adaptation, settings.reconstruction, CPU)
    video = for_model(stream.video, settings.input.size, task.preprocess)
    adapter.expect(video.length)
    metric, frames, seconds = task.new_metric(), 0, 0.0
    for frame in video.frames():
        began = time.thread_time()
        result = adapter.step(frame)
        seconds += time.thread_time() - began
        frames += result.adapted is not None
        truth = task.truth_of(frame, stream.truth)
        if truth is not None:
            metric.update(result.prediction.at_size(stream.video.size), truth)
    return frames, metric.compute().pooled, seconds


def shares(points: list[Point]) -> list[float]:
    """The gains in percent of the first point's; NaN if it gains nothing."""
    full = points[0].gain
    return [100 * point.gain / full if full > 0 else math.nan for point in points]


def plot(curves: dict[Row, list[Point]]) -> Figure:
    """Plots side by side, one a row: share of the gain over time."""
    figure = Figure(figsize=(4.2 * len(curves), 3.8), layout="constrained")
    for axes, (row, points) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        draw(axes, row, points)
    figure.axes[0].set_ylabel("share of the gain of a step before every frame, %")
    figure.axes[0].legend(frameon=False, loc="lower right")
    return figure


def draw(axes: Axes, row: Row, points: list[Point]) -> None:
    """One row's curves, with and without a budget."""
    values = list(zip(points, shares(points), strict=True))
    for label, color, chosen, offset, side in (
        ("--every N", "#0072b2", [value for value in values if not value[0].budget], (5, -10), "left"),
        ("--budget B", "#d55e00", [value for value in values if value[0].budget], (-5, 5), "right"),
    ):
        axes.plot([point.time for point, _ in chosen], [share for _, share in chosen], "o-", color=color, label=label)
        for point, share in chosen:
            axes.annotate(
                f"{point.budget or point.every:g}",
                (point.time, share),
                xytext=offset,
                textcoords="offset points",
                ha=side,
                color=color,
                fontsize=8,
            )
    axes.set_title(f"{row.title}\n{points[0].base_score:.1f} {points[0].gain:+.1f} mIoU", fontsize=9)
    axes.set_xscale("log")
    largest = max(point.time for point in points)
    ticks = [tick for tick in TICKS if tick < 1.2 * largest]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0.95, 1.15 * largest)
    axes.set_ylim(0, 112)
    axes.axhline(100, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xlabel("model time over the fixed model's")
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
