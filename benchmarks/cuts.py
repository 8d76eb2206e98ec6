"""What emptying the window at cuts is worth: `--cuts reset` against `ignore` on a film cut together from videos.

Frame t of the film is frame t of one of the videos; the next video follows every `--scene` frames. semantic: the day
and the night stream of recipes/streams.toml. colorization: three DAVIS videos that recipes/color.toml holds out.

    python benchmarks/cuts.py --task semantic
    python benchmarks/cuts.py --task colorization
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Iterator
from pathlib import Path

import torch
from shift_recipes import open_stream, read_streams

from ttt_cli.core.frame import Frame
from ttt_cli.core.labels import Labels
from ttt_cli.datasets import open_streams
from ttt_cli.datasets.stream import Stream, StreamRequest
from ttt_cli.evaluate.comparison import deviation_of, records_of
from ttt_cli.evaluate.evaluation import Cell, measure, prepare_methods
from ttt_cli.model.opening import open_weights
from ttt_cli.model.own import shipped_for
from ttt_cli.run.overrides import AdaptationOverrides, Overrides, TaskOverrides
from ttt_cli.run.settings import resolve
from ttt_cli.video.settings import InputSettings

CPU = torch.device("cpu")
COLOR_VIDEOS = ("car-shadow", "dog", "drift-straight")


def cut_together(streams: list[Stream], scene: int) -> Stream:
    """One stream that switches to the next video every `scene` frames and ends with the shortest video."""

    def frames() -> Iterator[Frame]:
        for index, candidates in enumerate(zip(*(stream.video.frames() for stream in streams), strict=False)):
            turn = index // scene % len(streams)
            frame = candidates[turn]
            yield dataclasses.replace(frame, index=index, name=f"{turn}/{frame.name}")

    def truth(name: str) -> Labels | None:
        turn, frame_name = name.split("/", 1)
        return streams[int(turn)].truth(frame_name)

    length = min(stream.video.length or 0 for stream in streams)
    video = dataclasses.replace(streams[0].video, name="film", length=length, frames=frames)
    return Stream("film", streams[0].classes, video, truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="semantic", choices=("semantic", "colorization"))
    parser.add_argument("--weights", help="default: the weights shipped for the task")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--scene", type=int, default=10, help="frames from one cut to the next")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()

    if arguments.task == "semantic":
        streams = [open_stream(recipe, arguments.data) for recipe in read_streams(Path("recipes/streams.toml"))[:2]]
    else:
        folders = [arguments.data / "davis16" / "images" / name for name in COLOR_VIDEOS]
        requests = [StreamRequest(folder, None, InputSettings(), arguments.task) for folder in folders]
        streams = [open_streams("color-video", request)[0] for request in requests]
    film = cut_together(streams, arguments.scene)
    weights = open_weights(arguments.weights or shipped_for(arguments.task))
    for method, cuts in (("joint", "ignore"), ("online", "ignore"), ("online", "reset")):
        overrides = Overrides(
            task=TaskOverrides(task=arguments.task), adaptation=AdaptationOverrides(method=method, cuts=cuts)
        )
        settings = resolve(weights, None, overrides, CPU)
        prepared = prepare_methods(weights, {method: settings}, CPU)[method]
        scores = []
        for seed in range(arguments.seeds if method == "online" else 1):
            cell = Cell(film.name, method, settings.adaptation.window, seed)
            scores.append(records_of({cell: measure(cell, film, prepared)})[0].pooled)
        spread = deviation_of(scores)
        print(f"{method}, cuts {cuts}: {statistics.fmean(scores):.2f} +- {spread:.2f}", flush=True)


if __name__ == "__main__":
    main()
