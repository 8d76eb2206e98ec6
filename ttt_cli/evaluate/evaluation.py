"""Runs methods, windows and seeds on labeled streams.

A cell is one pass: a method with one window and one seed over one stream. Cells do not depend on each other, so an
interrupted evaluation can continue with the missing cells. evaluate/comparison.py turns their tallies into scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ttt_cli.adaptation.methods import method_named
from ttt_cli.adaptation.methods.offline import OfflineOracle
from ttt_cli.adaptation.offline import OnOfflineStep, train_offline
from ttt_cli.adaptation.online import Adapter, adapt
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.frame import Result, Video
from ttt_cli.core.labels import Labels
from ttt_cli.datasets.stream import Stream
from ttt_cli.metrics.base import Metric
from ttt_cli.metrics.consistency import Consistency
from ttt_cli.metrics.table import metric_from_json
from ttt_cli.model.opening import weights_for
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel
from ttt_cli.model.weights import Weights
from ttt_cli.run.peak_memory import forget_peak, peak_mebibytes
from ttt_cli.run.settings import RunSettings, task_of
from ttt_cli.tasks.base import Task
from ttt_cli.video.transforms import for_model


@dataclass(frozen=True)
class Cell:
    """Which pass: a method with a window and a seed over a stream."""

    stream: str
    method: str
    window: int | None
    """None if the method has no choice of windows."""
    seed: int | None
    """None if nothing is random."""


@dataclass(frozen=True)
class PreparedMethod:
    """A method ready to run."""

    model: SplitModel
    """Unchanged after a pass."""
    task: Task
    settings: AdaptationSettings
    """Method, window and seed are replaced by the cell's."""
    reconstruction: ReconstructionSettings
    size: int | None
    """Shortest side, in pixels, of the model's input. Scores are computed at the size of the frames."""
    consistency: bool = False
    """Measure consistency too, see metrics/consistency.py."""


@dataclass
class PassTally:
    """What one pass measured, frame by frame. Tallies of several streams can be added."""

    metric: Metric
    consistency: Metric | None = None
    """See metrics/consistency.py; None if not measured."""
    scored: list[int] = field(default_factory=list)
    """Numbers of the frames that have a label, from 0, in the order of `metric.frame_scores`."""
    losses: list[float | None] = field(default_factory=list)
    """For each frame; None if it was not trained on."""
    adapt_seconds: list[float] = field(default_factory=list)
    """Model time for each frame."""
    predict_seconds: list[float] = field(default_factory=list)
    """Model time for each frame."""
    study_seconds: float = 0.0
    """Time of training before the first frame."""
    skipped_steps: int = 0
    out_of_memory: list[str] = field(default_factory=list)
    """What was done where memory ran out, one line each."""
    peak_mebibytes: float | None = None
    """Peak memory; None if unknown."""

    @property
    def frames(self) -> int:
        """Number of predicted frames."""
        return len(self.predict_seconds)

    def add(self, result: Result, truth: Labels | None, size: tuple[int, int]) -> None:
        """Counts one frame of `size` (height, width), and scores it if it has a label."""
        if truth is not None:
            self.scored.append(self.frames)
            self.metric.update(result.prediction.at_size(size), truth)
        self.losses.append(result.loss)
        self.skipped_steps += result.skipped_steps
        if result.out_of_memory is not None:
            self.out_of_memory.append(result.out_of_memory)
        self.adapt_seconds.append(result.timing.adapt_milliseconds / 1000)
        self.predict_seconds.append(result.timing.predict_milliseconds / 1000)

    def __iadd__(self, other: PassTally) -> PassTally:
        self.scored += [self.frames + position for position in other.scored]
        self.metric += other.metric
        if self.consistency is not None and other.consistency is not None:
            self.consistency += other.consistency
        self.losses += other.losses
        self.adapt_seconds += other.adapt_seconds
        self.predict_seconds += other.predict_seconds
        self.study_seconds += other.study_seconds
        self.skipped_steps += other.skipped_steps
        self.out_of_memory += other.out_of_memory
        peaks = [peak for peak in (self.peak_mebibytes, other.peak_mebibytes) if peak is not None]
        self.peak_mebibytes = max(peaks, default=None)
        return self

    def as_json(self) -> dict[str, Any]:
        """The whole tally, for `from_json`."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        consistency = None if self.consistency is None else self.consistency.as_json()
        return {**values, "metric": self.metric.as_json(), "consistency": consistency}

    @staticmethod
    def from_json(content: dict[str, Any]) -> PassTally:
        """Reads the output of `as_json`. Raises KeyError, TypeError or ValueError for anything else."""
        consistency = content["consistency"]
        return PassTally(
            **{
                **content,
                "metric": metric_from_json(content["metric"]),
                "consistency": None if consistency is None else metric_from_json(consistency),
            }
        )


def prepare_methods(
    weights: Weights, settings: Mapping[str, RunSettings], device: torch.device, consistency: bool = False
) -> dict[str, PreparedMethod]:
    """The methods in `settings` with their models. Methods with the same weights share a model."""
    models: dict[Path, SplitModel] = {}
    methods = {}
    for name, chosen in settings.items():
        method_weights = weights_for(name, weights)
        path = method_weights.path
        if path not in models:
            models[path] = method_weights.load().to(device)
        task = task_of(weights, chosen)
        methods[name] = PreparedMethod(
            models[path], task, chosen.adaptation, chosen.reconstruction, chosen.input.size, consistency
        )
    return methods


def plan(
    methods: Mapping[str, PreparedMethod], streams: Sequence[Stream], windows: Sequence[int], seeds: Sequence[int]
) -> list[Cell]:
    """The cells to run, in order.

    A method that trains no parameters runs once; a method that fixes its window runs only with that window.
    """
    cells = []
    for name, prepared in methods.items():
        method = method_named(name)
        trains = any(True for _ in method.parameters(prepared.model))
        for window in windows if trains and method.window is None else [None]:
            for seed in seeds if trains else [None]:
                cells += [Cell(stream.name, name, window, seed) for stream in streams]
    return cells


def measure(
    cell: Cell,
    stream: Stream,
    prepared: PreparedMethod,
    on_frame: Callable[[Result], None] = lambda result: None,
    on_offline_step: OnOfflineStep = lambda done, total: None,
) -> PassTally:
    """Runs one cell over its stream. Only here are predictions compared with labels."""
    settings = prepared.settings
    window = settings.window if cell.window is None else cell.window
    chosen = dataclasses.replace(settings, method=cell.method, window=window, seed=cell.seed or 0)
    device = next(prepared.model.parameters()).device
    forget_peak(device)
    adapter = Adapter(prepared.model, prepared.task, chosen, prepared.reconstruction, device)
    video = for_model(stream.video, prepared.size, prepared.task.preprocess)

    def tally_of(results: Iterable[Result]) -> PassTally:
        tally = PassTally(prepared.task.new_metric())
        tally.metric.unlabeled = stream.unlabeled
        shown_score = prepared.task.settings.shown_score
        consistency = Consistency(tally.metric.names, shown_score) if prepared.consistency else None
        for result in results:
            tally.add(result, prepared.task.truth_of(result.frame, stream.truth), stream.video.size)
            if consistency is not None:
                image = result.frame.image
                consistency.update(image, result.prediction.at_size((image.shape[-2], image.shape[-1])))
            on_frame(result)
        tally.study_seconds = adapter.offline_seconds
        tally.consistency = None if consistency is None else consistency.metric
        return tally

    if isinstance(adapter.method, OfflineOracle):
        tally = _best_epoch(adapter, adapter.method.epochs, video, tally_of, on_offline_step)
    else:
        tally = tally_of(adapt(video, adapter, on_offline_step))
    tally.peak_mebibytes = peak_mebibytes(device)
    return tally


def _best_epoch(
    adapter: Adapter,
    count: int,
    video: Video,
    tally_of: Callable[[Iterable[Result]], PassTally],
    on_offline_step: OnOfflineStep,
) -> PassTally:
    """The epoch of offline training with the best score. It needs the labels, so it is no method for real use."""
    epochs = []
    try:
        for _ in range(count):
            train_offline(adapter, video, on_offline_step)
            epochs.append(tally_of(adapter.step(frame) for frame in video.frames()))
    finally:
        adapter.restore()
    return max(epochs, key=lambda tally: tally.metric.compute().pooled)
