"""How the time of a frame grows with the size of the picture, the window and the length of the video, and a plot of it.

Prediction and step are measured on every frame of each run; medians, the runs of a row in turn.

python benchmarks/growth.py data/camvid/video_0016E5_15hz/images --plot docs/growth.png
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.frame import Frame
from ttt_cli.model.opening import open_weights
from ttt_cli.run.overrides import Overrides
from ttt_cli.run.settings import resolve, task_of
from ttt_cli.video.reader import open_video

CPU = torch.device("cpu")
HEIGHTS = (240, 360, 480, 720, 1080)
WINDOWS = (1, 16, 64, 128)
LENGTHS = (100, 500, 1000, 2000)
USUAL_HEIGHT, SMALL_HEIGHT = 240, 48
WARM_UP = 2
"""Frames at the start of a run that do not count."""


class Cost(NamedTuple):
    """Milliseconds of a frame."""

    step: float
    prediction: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", help="a video file, or a folder of pictures")
    parser.add_argument("--weights", default="street")
    parser.add_argument("--method", default="online")
    parser.add_argument("--frames", type=int, default=3, help="measured frames of each size and window")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    pictures = [frame.image for frame in islice(open_video(arguments.input).frames(), 130)]

    def costs(height: int, window: int, count: int) -> list[Cost]:
        return list(measured(arguments.weights, arguments.method, at_height(pictures, height), window, count))

    few = arguments.frames + WARM_UP
    pixels = {height: median(costs(height, 16, few)) for height in HEIGHTS}
    windows = {window: median(costs(USUAL_HEIGHT, window, window + few)[window:]) for window in WINDOWS}
    whole = costs(SMALL_HEIGHT, 16, max(LENGTHS))
    lengths = {length: median(whole[length - 100 : length]) for length in LENGTHS}
    for title, row in (("height", pixels), ("window", windows), ("frames before", lengths)):
        print(f"{title:>14s}  step ms  prediction ms")
        for value, cost in row.items():
            print(f"{value:14d} {cost.step:8.1f} {cost.prediction:14.1f}")
    if arguments.plot:
        plot(pixels, windows, lengths, pictures[0].shape[-1] / pictures[0].shape[-2]).savefig(arguments.plot, dpi=110)


def measured(name: str, method: str, pictures: list[Tensor], window: int, count: int) -> Iterator[Cost]:
    """What each of `count` frames takes, with a step before every one."""
    weights = open_weights(name)
    task = task_of(weights, resolve(weights, None, Overrides(), CPU))
    settings = AdaptationSettings(method=method, window=window)
    adapter = Adapter(weights.load(), task, settings, weights.reconstruction, CPU)
    for index, picture in enumerate(islice(cycle(pictures), count)):
        timing = adapter.step(Frame(index, str(index), float(index), picture)).timing
        yield Cost(timing.adapt_milliseconds, timing.predict_milliseconds)


def at_height(pictures: list[Tensor], height: int) -> list[Tensor]:
    """The pictures, uint8 (3, H, W), at another height and the same shape."""
    factor = height / pictures[0].shape[-2]
    size = (height, round(pictures[0].shape[-1] * factor))
    return [
        functional.interpolate(picture[None].float(), size=size, mode="bilinear")[0].to(torch.uint8)
        for picture in pictures
    ]


def median(costs: list[Cost]) -> Cost:
    """The median of each part, without the first frames."""
    counted = costs[WARM_UP:]
    return Cost(*(statistics.median(values) for values in zip(*counted, strict=True)))


def plot(pixels: dict[int, Cost], windows: dict[int, Cost], lengths: dict[int, Cost], aspect: float) -> Figure:
    """Three plots side by side: milliseconds a frame over megapixels, window and length."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    megapixels = {height * height * aspect / 1e6: cost for height, cost in pixels.items()}
    rows: list[tuple[str, Mapping[float, Cost]]] = [
        ("megapixels", megapixels),
        ("window, frames", {float(window): cost for window, cost in windows.items()}),
        ("frames before", {float(length): cost for length, cost in lengths.items()}),
    ]
    for axes, (title, row) in zip(figure.subplots(1, 3), rows, strict=True):
        axes.plot(list(row), [cost.step for cost in row.values()], "o-", color="#009e73", label="a step")
        axes.plot(list(row), [cost.prediction for cost in row.values()], "o-", color="#0072b2", label="a prediction")
        axes.set_xlabel(title)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("milliseconds")
    figure.axes[0].legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
