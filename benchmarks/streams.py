"""The main table of README.md: methods on the three test streams with several seeds, or on the suite of changes.

python benchmarks/streams.py --data data --methods all
python benchmarks/streams.py --data data --recipe recipes/shifts.toml --out runs/shifts --only fog:3,fog:5 --every 2
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from shift_recipes import groups_of, open_stream, read_streams

from ttt_cli.adaptation.methods import defined_methods
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.cli._values import parse_window
from ttt_cli.datasets.changes import shuffled
from ttt_cli.evaluate.comparison import ALL_STREAMS, Summary
from ttt_cli.evaluate.evaluation import Cell
from ttt_cli.evaluate.experiment import Experiment
from ttt_cli.evaluate.running import Watcher, run_experiment
from ttt_cli.model.opening import open_weights
from ttt_cli.run.overrides import AdaptationOverrides, InputOverrides, Overrides, parse_assignments
from ttt_cli.run.settings import resolve

CPU = torch.device("cpu")


def print_table(summary: list[Summary], groups: dict[str, list[str]]) -> None:
    """Prints pooled mIoU in percent and gain over joint by method and stream, means by group, and time next to joint.

    The longer of the two, methods or streams, goes down the page.
    """
    rows = [row for row in summary if row.stream != ALL_STREAMS]
    by_title: dict[str, dict[str, Summary]] = {}
    for row in rows:
        by_title.setdefault(row.title, {})[row.stream] = row
    table = {title: _texts(by_stream, groups) for title, by_stream in by_title.items()}
    columns = list(next(iter(table.values())))
    if len(columns) > len(table):
        table = {column: {title: texts[column] for title, texts in table.items()} for column in columns}
        columns = list(by_title)
    print(" " * 26 + "".join(f"{column:>26s}" for column in columns))
    for title, texts in table.items():
        print(f"{title:26s}" + "".join(f"{texts[column]:>26s}" for column in columns))
    print("per frame (protocol paper): " + "; ".join(f"{row.title}, {row.stream} {row.paper:.2f}" for row in rows))


def _texts(by_stream: dict[str, Summary], groups: dict[str, list[str]]) -> dict[str, str]:
    """What is printed of one method, by column."""
    texts = {name: f"{row.pooled:.2f} +- {row.deviation:.2f} ({row.gain or 0:+.2f})" for name, row in by_stream.items()}
    for group, names in groups.items():
        mean = statistics.fmean(by_stream[name].pooled for name in names)
        gain = statistics.fmean(by_stream[name].gain or 0 for name in names)
        texts[f"mean, {group} ({len(names)})"] = f"{mean:.2f} ({gain:+.2f})"
    texts["x joint"] = f"{statistics.fmean(row.time_ratio or 0 for row in by_stream.values()):.2f}"
    return texts


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
    parser.add_argument("--only", metavar="NAME,NAME", help="only these streams of the recipe")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th frame of each stream")
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--set", dest="assignments", action="append", default=[], metavar="SECTION.NAME=VALUE")
    parser.add_argument("--out", type=Path, default=Path("runs/streams"), help="continues a stopped evaluation")
    arguments = parser.parse_args()

    weights = open_weights(arguments.weights)
    names = defined_methods(weights, "semantic")[0] if arguments.methods == "all" else arguments.methods.split(",")
    recipes = read_streams(arguments.recipe, arguments.only.split(",") if arguments.only else ())
    streams = [open_stream(recipe, arguments.data, arguments.every, arguments.max_frames) for recipe in recipes]
    groups = groups_of(recipes)
    if arguments.shuffle:
        streams = [shuffled(stream) for stream in streams]
        groups = {group: [f"{name} shuffled" for name in names] for group, names in groups.items()}
    assigned = parse_assignments(arguments.assignments)
    chosen = InputOverrides(stride=arguments.every, max_frames=arguments.max_frames)
    experiment = Experiment(
        data={"dataset": arguments.recipe.as_posix()},
        streams=streams,
        weights=weights,
        settings={
            name: resolve(weights, None, Overrides(adaptation=AdaptationOverrides(method=name), assigned=assigned), CPU)
            for name in names
        },
        common=resolve(weights, None, Overrides(input=chosen, assigned=assigned), CPU),
        windows=[parse_window(text) for text in arguments.windows.split(",")],
        seeds=range(arguments.seeds),
        device=CPU,
    )
    print_table(run_experiment(experiment, arguments.out, overwrite=False, watcher=Lines()).summary, groups)


if __name__ == "__main__":
    main()
