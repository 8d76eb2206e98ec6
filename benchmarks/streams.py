"""The README's main table: methods on the three test streams with several seeds.

python benchmarks/streams.py --data data --methods all
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch

from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.cli._options import parse_window
from ttt_cli.core.toml import from_table, read_toml
from ttt_cli.datasets import open_streams
from ttt_cli.datasets.changes import shuffled
from ttt_cli.datasets.degrade import degraded, parse_degradation
from ttt_cli.datasets.stream import Stream, StreamRequest
from ttt_cli.evaluate.comparison import ALL_STREAMS, Summary
from ttt_cli.evaluate.evaluation import Cell
from ttt_cli.evaluate.experiment import Experiment, Watcher, all_methods, run_experiment
from ttt_cli.model.weights import open_weights
from ttt_cli.run.overrides import AdaptationOverrides, InputOverrides, Overrides
from ttt_cli.run.settings import resolve
from ttt_cli.video.settings import InputSettings

CPU = torch.device("cpu")


@dataclass(frozen=True)
class StreamRecipe:
    """An entry of recipes/streams.toml."""

    name: str
    """Name of the stream in the table."""
    folder: str
    """Path relative to the data folder."""
    fps: float
    """Frames per second."""
    degrade: str = ""
    """A key of DEGRADATIONS; empty leaves the frames as they are."""


def read_streams(recipe: Path) -> list[StreamRecipe]:
    """Reads the entries of a file such as recipes/streams.toml."""
    return [from_table(StreamRecipe, table, str(recipe)) for table in read_toml(recipe)["streams"]]


def open_stream(recipe: StreamRecipe, data: Path, max_frames: int | None) -> Stream:
    """Opens the labeled video of an entry."""
    settings = InputSettings(fps=recipe.fps, max_frames=max_frames)
    stream = open_streams("camvid", StreamRequest(data / recipe.folder, None, settings, "semantic"))[0]
    if recipe.degrade:
        stream = degraded(stream, parse_degradation(recipe.degrade))
    return dataclasses.replace(stream, name=recipe.name)


def print_table(summary: list[Summary]) -> None:
    """Prints pooled mIoU in percent by method and stream, then mean, gain over joint, and time relative to joint."""
    rows = [row for row in summary if row.stream != ALL_STREAMS]
    streams = list(dict.fromkeys(row.stream for row in rows))
    by_title_and_stream = {(row.title, row.stream): row for row in rows}
    print(f"{'method':24s}" + "".join(f"{name:>24s}" for name in streams) + f"{'mean':>8s}{'gain':>8s}{'x joint':>9s}")
    for title in dict.fromkeys(row.title for row in rows):
        results = [by_title_and_stream[title, stream] for stream in streams]
        scores = [f"{row.pooled:.2f} +- {row.deviation:.2f} ({row.gain or 0:+.2f})" for row in results]
        mean = statistics.fmean(row.pooled for row in results)
        gain = statistics.fmean(row.gain or 0 for row in results)
        ratio = statistics.fmean(row.time_ratio or 0 for row in results)
        print(f"{title:24s}" + "".join(f"{score:>24s}" for score in scores) + f"{mean:8.2f}{gain:+8.2f}{ratio:9.2f}")
    print("per frame (protocol paper): " + "; ".join(f"{row.title}, {row.stream} {row.paper:.2f}" for row in rows))


class Lines(Watcher):
    """Prints a line for every finished cell."""

    def finish(self, cell: Cell, score: float) -> None:
        """Prints the line."""
        print(f"# {cell.stream}, {cell.method}, seed {cell.seed}: {score:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="street")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/streams.toml"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--methods", default="joint,online")
    parser.add_argument("--windows", default=str(AdaptationSettings.window), help="such as 1,4,16,inf")
    parser.add_argument("--shuffle", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/streams"), help="continues a stopped evaluation")
    arguments = parser.parse_args()

    weights = open_weights(arguments.weights)
    names = all_methods(weights, "semantic")[0] if arguments.methods == "all" else arguments.methods.split(",")
    streams = [open_stream(recipe, arguments.data, arguments.max_frames) for recipe in read_streams(arguments.recipe)]
    experiment = Experiment(
        data={"dataset": "recipes/streams.toml"},
        streams=[shuffled(stream) for stream in streams] if arguments.shuffle else streams,
        weights=weights,
        settings={
            name: resolve(weights, None, Overrides(adaptation=AdaptationOverrides(method=name)), CPU) for name in names
        },
        common=resolve(weights, None, Overrides(input=InputOverrides(max_frames=arguments.max_frames)), CPU),
        windows=[parse_window(text) for text in arguments.windows.split(",")],
        seeds=range(arguments.seeds),
        device=CPU,
    )
    print_table(run_experiment(experiment, arguments.out, overwrite=False, watcher=Lines()).summary)


if __name__ == "__main__":
    main()
