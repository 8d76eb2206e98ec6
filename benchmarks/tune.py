"""Helps to choose settings of test-time training on stills held out of the training drives, never on a test stream.

The held-out stills of each drive, in time order and each shown `--repeats` times, stand in for a video; the last
showing is scored. Each trial runs on the stills as they are and on each change of `--shifts`, none of which is in the
suite that is reported (recipes/shifts.toml). A `--try` lists the settings to change.
`method="tent"` tries another method than `online`; `self-train.confidence=0.8` changes a setting of the method itself.

    python benchmarks/tune.py --try learning_rate=1e-4 --try learning_rate=3e-4,forgetting=0.1
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import torch
from shift_recipes import read_shifts

from ttt_cli.core.classes import Class
from ttt_cli.core.frame import Frame, Video
from ttt_cli.core.labels import ClassMap
from ttt_cli.core.toml import from_table, parse_toml, read_toml
from ttt_cli.datasets.degrade import degraded, parse_degradation
from ttt_cli.datasets.stream import Stream
from ttt_cli.evaluate.comparison import ALL_STREAMS, records_of
from ttt_cli.evaluate.evaluation import measure, plan, prepare_methods
from ttt_cli.model.opening import open_weights
from ttt_cli.run.overrides import Overrides
from ttt_cli.run.settings import resolve
from ttt_cli.training.recipe import Recipe
from ttt_cli.training.sources import load_split
from ttt_cli.training.stills import Stills

CPU = torch.device("cpu")


def as_stream(name: str, stills: Stills, classes: tuple[Class, ...], repeats: int) -> Stream:
    """Stills as a video that shows each still for `repeats` frames."""

    def frames() -> Iterator[Frame]:
        for position, still in enumerate(stills):
            for showing in range(repeats):
                index = position * repeats + showing
                yield Frame(index, f"{still.name}.{showing}", float(index), still.image)

    size = (stills[0].classes.shape[0], stills[0].classes.shape[1])
    truths = {f"{still.name}.{repeats - 1}": ClassMap(still.classes) for still in stills}
    video = Video(name, Path(name), Fraction(1), size, len(stills) * repeats, frames)
    return Stream(name, classes, video, truths.get)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="street")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/street.toml"))
    parser.add_argument("--shifts", type=Path, default=Path("recipes/development.toml"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--try", dest="tries", action="append", default=[], metavar="NAME=VALUE,...")
    arguments = parser.parse_args()

    weights = open_weights(arguments.weights)
    recipe = from_table(Recipe, read_toml(arguments.recipe), str(arguments.recipe))
    split = load_split(recipe.sources, arguments.data)
    held_out = split.held_out
    day = [as_stream(name, stills, split.classes, arguments.repeats) for name, stills in held_out.items()]
    shifts = [parse_degradation(text) for text in read_shifts(arguments.shifts)]
    columns = ["as is", *(shift.title for shift in shifts), "shifts"]
    widths = [max(6, len(column)) for column in columns]

    print(
        f"pooled mIoU on {sum(map(len, held_out.values()))} held-out stills; the last column is the mean over changes"
    )
    print(*(f"{column:>{width}s}" for column, width in zip(columns, widths, strict=True)))
    for text in ['method="joint"', *arguments.tries]:
        changes = {"method": "online", **parse_toml(text.replace(",", "\n"), "--try")}
        method = changes["method"]
        settings = resolve(weights, None, Overrides(assigned={"adaptation": changes}), CPU)
        ready = prepare_methods(weights, {method: settings}, CPU)
        scores = []
        for streams in (day, *([degraded(stream, shift) for stream in day] for shift in shifts)):
            by_name = {stream.name: stream for stream in streams}
            cells = plan(ready, streams, [settings.adaptation.window], range(arguments.seeds))
            records = records_of({cell: measure(cell, by_name[cell.stream], ready[method]) for cell in cells})
            scores.append(statistics.fmean(record.pooled for record in records if record.stream == ALL_STREAMS))
        scores.append(statistics.fmean(scores[1:]))
        print(*(f"{score:{width}.2f}" for score, width in zip(scores, widths, strict=True)), f" {text}", flush=True)


if __name__ == "__main__":
    main()
