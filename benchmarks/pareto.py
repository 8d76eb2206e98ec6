"""What it costs to adapt less often, and what of the gain is left: a table, and a plot of one curve for each row.

A row is weights, a method, the fixed method over which it gains, and a stream of the recipe. The gain of a step before
every frame is 100 %. A budget decides by the clock; the times that are told are of the processor, for each frame the
median over all frames of the row that were adapted to for the same reason, since other processes disturb single ones.

python benchmarks/pareto.py --data data --row street-plain online joint night --plot docs/pareto.png

With `--passes FILE` finished passes are kept there, and are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections import defaultdict
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
from ttt_cli.run.overrides import AdaptationOverrides, Overrides
from ttt_cli.run.settings import resolve, task_of
from ttt_cli.video.transforms import for_model

CPU = torch.device("cpu")
EVERY = (1, 2, 4, 8, 16, 32)
BUDGETS = (2.0, 1.5, 1.25, 1.1, 1.05)
TICKS = (1, 1.25, 1.5, 2, 3, 4, 6, 8)


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
class Pass:
    """One pass over the stream of a row: of the method, with steps in a certain spacing, or of the base."""

    every: int
    """0 with a budget, and for the base."""
    budget: float
    """0 without one."""
    score: float
    """mIoU in percent, pooled."""
    whys: list[str]
    """Why each frame was adapted to, see adaptation/pace.py; empty if it was not."""
    seconds: list[float]
    """Of the processor, for each frame."""

    @property
    def kinds(self) -> list[str]:
        """What each frame's time depends on: with a budget a step may share f's forward pass."""
        return [f"{why}, {bool(self.budget)}" if why else "predicted" for why in self.whys]


@dataclass(frozen=True)
class Point:
    """One way to space the steps of a row."""

    label: str
    """The option."""
    frames: int
    """Adapted to."""
    score: float
    """mIoU in percent, pooled."""
    gain: float
    """Points of mIoU above the base."""
    share: float
    """The gain in percent of the first point's; NaN if that gains nothing."""
    time: float
    """Over that of the base."""


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
    parser.add_argument("--passes", type=Path, metavar="FILE", help="JSON lines; goes on with what is there")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if 1 not in arguments.every:
        parser.error("--every needs 1, a step before every frame, whose gain is 100 %")
    spacings = [(0, 0.0), *((every, 0.0) for every in sorted(arguments.every)), *((0, b) for b in arguments.budgets)]
    curves: dict[Row, list[Point]] = {}
    for row in map(Row._make, arguments.row):
        recipe = read_streams(arguments.recipe, [row.stream])[0]
        stream = open_stream(recipe, arguments.data, max_frames=arguments.max_frames)
        passes = kept(arguments.passes, row)
        for spacing in spacings:
            if spacing not in passes:
                passes[spacing] = passed(row, stream, *spacing)
                keep(arguments.passes, row, passes[spacing])
        curves[row] = points_of([passes[spacing] for spacing in spacings])
        print(f"{row.title}\n{'':>12s}  frames   mIoU    gain  of all    time")
        for point in curves[row]:
            print(f"{point.label:>12s} {point.frames:7d} {point.score:6.2f} {point.gain:+7.2f}", end="")
            print(f" {point.share:5.0f} % {point.time:7.2f}", flush=True)
    if arguments.plot:
        plot(curves).savefig(arguments.plot, dpi=110)


def kept(path: Path | None, row: Row) -> dict[tuple[int, float], Pass]:
    """The passes of a row in a file, by how often they step."""
    if path is None or not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    passes = [Pass(**line["pass"]) for line in lines if Row(**line["row"]) == row]
    return {(found.every, found.budget): found for found in passes}


def keep(path: Path | None, row: Row, done: Pass) -> None:
    """Adds a pass to a file."""
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"row": row._asdict(), "pass": asdict(done)}) + "\n")


def passed(row: Row, stream: Stream, every: int, budget: float) -> Pass:
    """A pass of the row's method with such a spacing; of its base if there is none."""
    weights = open_weights(row.weights)
    pace = {"budget": budget} if budget else {"every": max(1, every)}
    chosen = AdaptationOverrides(method=row.method if every or budget else row.base, **pace)
    settings = resolve(weights, None, Overrides(adaptation=chosen), CPU)
    task = task_of(weights, settings)
    adapter = Adapter(weights.load(), task, settings.adaptation, settings.reconstruction, CPU)
    video = for_model(stream.video, settings.input.size, task.preprocess)
    adapter.expect(video.length)
    metric, whys, seconds = task.new_metric(), [], []
    for frame in video.frames():
        began = time.thread_time()
        result = adapter.step(frame)
        seconds.append(time.thread_time() - began)
        whys.append(result.adapted or "")
        truth = task.truth_of(frame, stream.truth)
        if truth is not None:
            metric.update(result.prediction.at_size(stream.video.size), truth)
    return Pass(every, budget, metric.compute().pooled, whys, seconds)


def points_of(passes: list[Pass]) -> list[Point]:
    """What the passes of a row say. They begin with that of the base, and that with a step before every frame."""
    base, full = passes[:2]
    seconds = defaultdict(list)
    for done in passes:
        for kind, value in zip(done.kinds, done.seconds, strict=True):
            seconds[kind].append(value)
    usual = {kind: statistics.median(values) for kind, values in seconds.items()}
    whole_gain = full.score - base.score
    return [
        Point(
            label=f"budget {done.budget:g}" if done.budget else f"every {done.every}",
            frames=sum(map(bool, done.whys)),
            score=done.score,
            gain=done.score - base.score,
            share=100 * (done.score - base.score) / whole_gain if whole_gain > 0 else math.nan,
            time=statistics.fmean(usual[kind] for kind in done.kinds) / usual["predicted"],
        )
        for done in passes[1:]
    ]


def plot(curves: dict[Row, list[Point]]) -> Figure:
    """Plots side by side, one a row: share of the gain over time."""
    figure = Figure(figsize=(4.2 * len(curves), 3.8), layout="constrained")
    for axes, (row, points) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        draw(axes, row, points)
    figure.axes[0].set_ylabel("share of the whole gain, %")
    figure.axes[0].legend(frameon=False, loc="lower right")
    return figure


def draw(axes: Axes, row: Row, points: list[Point]) -> None:
    """One row's curves, with and without a budget."""
    for option, color, offset, side in (
        ("every", "#0072b2", (5, -10), "left"),
        ("budget", "#d55e00", (-5, 5), "right"),
    ):
        chosen = [point for point in points if point.label.startswith(option)]
        times, shares = [point.time for point in chosen], [point.share for point in chosen]
        axes.plot(times, shares, "o-", color=color, label=f"--{option}")
        for point in chosen:
            number = point.label.split()[1]
            place = (point.time, point.share)
            axes.annotate(number, place, offset, textcoords="offset points", ha=side, color=color, fontsize=8)
    axes.set_title(f"{row.title}\n{points[0].score - points[0].gain:.1f} {points[0].gain:+.1f} mIoU", fontsize=9)
    axes.set_xscale("log")
    largest = max(point.time for point in points)
    ticks = [tick for tick in TICKS if tick < 1.2 * largest]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0.85, 1.15 * largest)
    axes.set_ylim(0, 112)
    axes.axhline(100, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xlabel("model time over the fixed model's")
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
