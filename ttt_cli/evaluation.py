"""Methods, windows and seeds against each other on labelled streams.

One cell is one pass: a method with one window and one seed over one stream. Cells do not depend on each other, so an
interrupted evaluation can go on with those that are missing. comparison.py turns their tallies into scores.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from ttt_cli.adaptation import AdaptationSettings
from ttt_cli.datasets.low_light import low_light
from ttt_cli.datasets.stream import Stream
from ttt_cli.errors import UsageError, printable
from ttt_cli.frame import Frame, Result, Video
from ttt_cli.methods import method_named
from ttt_cli.metrics.semantic import SemanticMetric
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.online import Adapter, adapt
from ttt_cli.reconstruction import ReconstructionSettings
from ttt_cli.tasks.semantic import class_map_at
from ttt_cli.transforms import changed, shrink


def _in_low_light(frame: Frame) -> Tensor:
    return low_light(frame.image, frame.index)


DEGRADATIONS: dict[str, Callable[[Frame], Tensor]] = {"low-light": _in_low_light}


@dataclass(frozen=True)
class Cell:
    """One pass. window: None where the method has none to choose. seed: None where nothing is random."""

    stream: str
    method: str
    window: int | None
    seed: int | None


@dataclass
class Tally:
    """What one pass counted; passes over several streams add up.

    adapt_seconds, predict_seconds: of model time in all, reading and scoring left out.
    """

    metric: SemanticMetric
    adapt_seconds: float = 0.0
    predict_seconds: float = 0.0
    frames: int = 0
    skipped_steps: int = 0

    def add(self, result: Result) -> None:
        """Counts time and skipped steps of one frame; its score goes to `metric`."""
        self.frames += 1
        self.skipped_steps += result.skipped_steps
        self.adapt_seconds += result.timing.adapt_milliseconds / 1000
        self.predict_seconds += result.timing.predict_milliseconds / 1000

    def __iadd__(self, other: Tally) -> Tally:
        self.metric += other.metric
        self.adapt_seconds += other.adapt_seconds
        self.predict_seconds += other.predict_seconds
        self.frames += other.frames
        self.skipped_steps += other.skipped_steps
        return self

    def as_json(self) -> dict[str, Any]:
        """Everything, so that `from_json` gives the same tally back."""
        own = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "metric"}
        return {**own, "confusion": self.metric.confusion.tolist(), "frame_miou": self.metric.frame_miou}

    @staticmethod
    def from_json(content: dict[str, Any]) -> Tally:
        """Reads what `as_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
        own = dict(content)
        confusion = torch.tensor(own.pop("confusion"), dtype=torch.int64)
        metric = SemanticMetric(len(confusion))
        metric.confusion = confusion
        metric.frame_miou = [math.nan if value is None else float(value) for value in own.pop("frame_miou")]
        return Tally(metric, **own)


def degraded(stream: Stream, name: str) -> Stream:
    """The stream with every frame degraded in the way `name`, a key of DEGRADATIONS; the labels stay."""
    if name not in DEGRADATIONS:
        raise UsageError(f"degradation {printable(name)!r} is unknown; known: {', '.join(DEGRADATIONS)}")
    return dataclasses.replace(stream, name=f"{stream.name} {name}", video=changed(stream.video, DEGRADATIONS[name]))


def shuffled(stream: Stream) -> Stream:
    """The stream with its frames in one fixed random order, which destroys temporal smoothness (paper, section 6.4).

    All frames are in memory while it is walked.
    """

    def frames() -> Iterator[Frame]:
        ordered = list(stream.video.frames())
        for index in torch.randperm(len(ordered), generator=Generator().manual_seed(0)).tolist():
            yield ordered[index]

    video: Video = dataclasses.replace(stream.video, frames=frames)
    return dataclasses.replace(stream, name=f"{stream.name} shuffled", video=video)


def plan(
    model: TwoHeadedModel,
    streams: Sequence[Stream],
    methods: Sequence[str],
    windows: Sequence[int],
    seeds: Sequence[int],
) -> list[Cell]:
    """The cells to run, in order. What moves no parameter is run once, and what fixes its window with that alone.

    Raises UsageError for an unknown method.
    """
    cells = []
    for name in methods:
        method = method_named(name)
        moves = any(True for _ in method.parameters(model))
        chooses = moves and method.window is None and not method.sees_all_first
        for window in windows if chooses else [None]:
            for seed in seeds if moves else [None]:
                cells += [Cell(stream.name, name, window, seed) for stream in streams]
    return cells


def measure(
    cell: Cell,
    stream: Stream,
    model: TwoHeadedModel,
    settings: AdaptationSettings,
    reconstruction: ReconstructionSettings,
    size: int,
    device: torch.device,
    on_frame: Callable[[Result], None] = lambda result: None,
) -> Tally:
    """Runs one cell over its stream, whose labels meet the predictions here and nowhere earlier.

    model: on `device`; given back as it was. settings: of the cell's method; window and seed in it are replaced.
    size: shortest side, in pixels, of what the model sees; scores are taken at the size of the labels.
    """
    window = settings.window if cell.window is None else cell.window
    chosen = dataclasses.replace(settings, method=cell.method, window=window, seed=cell.seed or 0)
    adapter = Adapter(model, chosen, reconstruction, device)
    tally = Tally(SemanticMetric(len(stream.classes)))
    for result in adapt(changed(stream.video, lambda frame: shrink(frame.image, size)), adapter):
        tally.add(result)
        truth = stream.truth(result.frame.name)
        if truth is not None:
            tally.metric.update(class_map_at(result.prediction, (truth.shape[0], truth.shape[1])), truth)
        on_frame(result)
    tally.adapt_seconds += adapter.study_seconds
    return tally
