"""The README's main table: every method on the three test streams, several seeds.

python benchmarks/streams.py --data ../shared/data --out runs/streams.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch

from ttt_cli.adaptation import AdaptationSettings
from ttt_cli.comparison import Summary, records_of, summarise
from ttt_cli.datasets.camvid import camvid_streams
from ttt_cli.datasets.stream import Stream
from ttt_cli.evaluation import Cell, Tally, degraded, entrants, measure, plan
from ttt_cli.io_settings import InputSettings
from ttt_cli.methods import METHODS
from ttt_cli.run_settings import resolve
from ttt_cli.settings import from_table, read_toml
from ttt_cli.weights import open_weights

CPU = torch.device("cpu")


@dataclass(frozen=True)
class StreamRecipe:
    """One entry of recipes/streams.toml. degrade: a key of evaluation.DEGRADATIONS, or empty."""

    name: str
    folder: str
    fps: float
    degrade: str = ""


def open_stream(recipe: StreamRecipe, data: Path, max_frames: int | None) -> Stream:
    """The labelled video of one entry."""
    wanted = InputSettings(fps=recipe.fps, max_frames=max_frames)
    stream = camvid_streams(data / recipe.folder, wanted)[0]
    if recipe.degrade:
        stream = degraded(stream, recipe.degrade)
    return dataclasses.replace(stream, name=recipe.name)


def print_table(summaries: list[Summary]) -> None:
    """mIoU (pooled, percent), one row a method, one column a stream, then their mean and the gain over joint."""
    streams = list(dict.fromkeys(one.stream for one in summaries))
    means = {}
    print(f"{'method':18s}" + "".join(f"{name:>26s}" for name in streams) + f"{'mean':>8s}{'gain':>8s}")
    for method in dict.fromkeys(one.method for one in summaries):
        row = {one.stream: one for one in summaries if one.method == method}
        means[method] = statistics.fmean(row[name].miou_pooled for name in streams)
        cells = ""
        for name in streams:
            one = row[name]
            gain = "" if one.gain is None else f" ({one.gain:+.2f})"
            cells += f"{f'{one.miou_pooled:.2f} +- {one.deviation:.2f}{gain}':>26s}"
        gain = means[method] - means["joint"]
        print(f"{method:18s}{cells}{means[method]:8.2f}{gain:+8.2f}")
    print("per frame (protocol paper): " + "; ".join(f"{o.method}, {o.stream} {o.miou_paper:.2f}" for o in summaries))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="street")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/streams.toml"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--methods", default="joint,online")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--out", type=Path, help="also write every record to this JSON file")
    arguments = parser.parse_args()

    weights = open_weights(arguments.weights)
    names = list(METHODS) if arguments.methods == "all" else arguments.methods.split(",")
    ready = entrants(
        weights, {name: resolve(weights, None, {"adaptation": {"method": name}}, CPU) for name in names}, CPU
    )
    entries = [from_table(StreamRecipe, one, str(arguments.recipe)) for one in read_toml(arguments.recipe)["streams"]]
    records = []
    for entry in entries:
        stream = open_stream(entry, arguments.data, arguments.max_frames)
        tallies: dict[Cell, Tally] = {}
        for cell in plan(ready, [stream], [AdaptationSettings.window], range(arguments.seeds)):
            tallies[cell] = measure(cell, stream, ready[cell.method])
            score = tallies[cell].metric.compute()["miou_pooled"]
            print(f"# {stream.name}, {cell.method}, seed {cell.seed}: {score:.2f}", flush=True)
        records += records_of(tallies, weights.classes)
    print_table(summarise(records))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps([dataclasses.asdict(one) for one in records], indent=1))


if __name__ == "__main__":
    main()
