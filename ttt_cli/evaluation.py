"""Methods against each other on labelled videos: scores by both protocols, and time."""

from __future__ import annotations

import csv
import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ttt_cli.adaptation import AdaptationSettings
from ttt_cli.datasets.low_light import low_light
from ttt_cli.datasets.stream import Stream
from ttt_cli.errors import UsageError, printable
from ttt_cli.frame import Frame, Result
from ttt_cli.methods import METHODS
from ttt_cli.metrics.semantic import SemanticMetric
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.online import Adapter, adapt
from ttt_cli.reconstruction import ReconstructionSettings
from ttt_cli.tasks.classes import Class
from ttt_cli.tasks.semantic import class_map_at
from ttt_cli.transforms import changed, shrink

BASELINE = "joint"
ALL_STREAMS = "all"


def _in_low_light(frame: Frame) -> Tensor:
    return low_light(frame.image, frame.index)


DEGRADATIONS: dict[str, Callable[[Frame], Tensor]] = {"low-light": _in_low_light}


@dataclass(frozen=True)
class Record:
    """One method with one seed on one stream, or on all of them together.

    seed: None where nothing is random. miou_pooled, miou_paper, class_iou: percent, see metrics/semantic.py.
    adapt_seconds, predict_seconds: a frame, on average, reading and scoring left out.
    """

    stream: str
    method: str
    seed: int | None
    frames: int
    miou_pooled: float
    miou_paper: float
    class_iou: dict[str, float]
    adapt_seconds: float
    predict_seconds: float
    skipped_steps: int

    @property
    def seconds(self) -> float:
        """Of model time a frame."""
        return self.adapt_seconds + self.predict_seconds


@dataclass(frozen=True)
class Summary:
    """A method on a stream, averaged over seeds.

    deviation: of miou_pooled over the seeds, 0 for one seed. gain: points of pooled mIoU above `joint`; time_ratio:
    model time over that of `joint`; both None where `joint` was not run.
    """

    stream: str
    method: str
    seeds: int
    miou_pooled: float
    deviation: float
    miou_paper: float
    gain: float | None
    seconds: float
    time_ratio: float | None


@dataclass
class _Tally:
    """Counts of one pass; passes over several streams add up."""

    metric: SemanticMetric
    adapt_seconds: float = 0.0
    predict_seconds: float = 0.0
    frames: int = 0
    skipped_steps: int = 0

    def add(self, result: Result) -> None:
        self.frames += 1
        self.skipped_steps += result.skipped_steps
        self.adapt_seconds += result.timing.adapt_milliseconds / 1000
        self.predict_seconds += result.timing.predict_milliseconds / 1000

    def __iadd__(self, other: _Tally) -> _Tally:
        self.metric += other.metric
        self.adapt_seconds += other.adapt_seconds
        self.predict_seconds += other.predict_seconds
        self.frames += other.frames
        self.skipped_steps += other.skipped_steps
        return self

    def record(self, stream: str, method: str, seed: int | None, classes: tuple[Class, ...]) -> Record:
        scores = self.metric.compute()
        return Record(
            stream=stream,
            method=method,
            seed=seed,
            frames=self.frames,
            miou_pooled=scores["miou_pooled"],
            miou_paper=scores["miou_paper"],
            class_iou=dict(zip((one.name for one in classes), self.metric.class_iou(), strict=True)),
            adapt_seconds=self.adapt_seconds / self.frames,
            predict_seconds=self.predict_seconds / self.frames,
            skipped_steps=self.skipped_steps,
        )


def degraded(stream: Stream, name: str) -> Stream:
    """The stream with every frame degraded in the way `name`, a key of DEGRADATIONS; the labels stay."""
    if name not in DEGRADATIONS:
        raise UsageError(f"degradation {printable(name)!r} is unknown; known: {', '.join(DEGRADATIONS)}")
    return dataclasses.replace(stream, name=f"{stream.name} {name}", video=changed(stream.video, DEGRADATIONS[name]))


def passes(model: TwoHeadedModel, methods: Sequence[str], seeds: Sequence[int]) -> list[tuple[str, int | None]]:
    """Which (method, seed) are run: a method that moves no parameter has nothing random in it and is run once."""
    listed: list[tuple[str, int | None]] = []
    for method in methods:
        if method not in METHODS:
            raise UsageError(f"method {printable(method)!r} is unknown; known: {', '.join(METHODS)}")
        moves = any(True for _ in METHODS[method].parameters(model))
        listed += [(method, seed) for seed in seeds] if moves else [(method, None)]
    return listed


def evaluate(
    model: TwoHeadedModel,
    streams: Sequence[Stream],
    methods: Sequence[str],
    seeds: Sequence[int],
    settings: AdaptationSettings,
    reconstruction: ReconstructionSettings,
    size: int,
    device: torch.device,
    on_frame: Callable[[Result], None] = lambda result: None,
) -> Iterator[Record]:
    """Every method with every seed over every stream in its order; one record each, and one over all where several.

    model: on `device`; given back as it was after every stream. settings: method and seed in it are replaced.
    size: shortest side, in pixels, of what the model sees; scores are taken at the size of the labels.
    """
    for method, seed in passes(model, methods, seeds):
        chosen = dataclasses.replace(settings, method=method, seed=seed or 0)
        total: _Tally | None = None
        for stream in streams:
            adapter = Adapter(model, chosen, reconstruction, device)
            tally = _score(stream, adapter, size, on_frame)
            yield tally.record(stream.name, method, seed, stream.classes)
            if total is None:
                total = tally
            else:
                total += tally
        if total is not None and len(streams) > 1:
            yield total.record(ALL_STREAMS, method, seed, streams[0].classes)


def _score(stream: Stream, adapter: Adapter, size: int, on_frame: Callable[[Result], None]) -> _Tally:
    tally = _Tally(SemanticMetric(len(stream.classes)))
    for result in adapt(changed(stream.video, lambda frame: shrink(frame.image, size)), adapter):
        tally.add(result)
        truth = stream.truth(result.frame.name)
        if truth is not None:
            class_map = class_map_at(result.prediction, (truth.shape[0], truth.shape[1]))
            tally.metric.update(class_map, truth)
        on_frame(result)
    return tally


def summarise(records: Sequence[Record]) -> list[Summary]:
    """One row for each stream and method, in order of appearance."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.stream, record.method), []).append(record)
    rows = []
    for (stream, method), group in groups.items():
        pooled = [record.miou_pooled for record in group]
        baseline = groups.get((stream, BASELINE), [None])[0]
        seconds = statistics.fmean(record.seconds for record in group)
        rows.append(
            Summary(
                stream=stream,
                method=method,
                seeds=len(group),
                miou_pooled=statistics.fmean(pooled),
                deviation=statistics.stdev(pooled) if len(pooled) > 1 else 0.0,
                miou_paper=statistics.fmean(record.miou_paper for record in group),
                gain=None if baseline is None else statistics.fmean(pooled) - baseline.miou_pooled,
                seconds=seconds,
                time_ratio=None if baseline is None else seconds / baseline.seconds,
            )
        )
    return rows


def write_csv(path: Path, records: Sequence[Record]) -> None:
    """One line for each record, the IoU of every class in a column of its own."""
    lines: list[dict[str, Any]] = []
    for record in records:
        line = dataclasses.asdict(record)
        line |= {f"iou {name}": value for name, value in line.pop("class_iou").items()}
        lines.append(line)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]) if lines else [])
        writer.writeheader()
        writer.writerows(lines)
