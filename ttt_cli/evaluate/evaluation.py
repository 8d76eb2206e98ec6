"""Methods, windows and seeds against each other on labeled streams.

One cell is one pass: a method with one window and one seed over one stream. Cells do not depend on each other, so an
interrupted evaluation can go on with those that are missing. comparison.py turns their tallies into scores.
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
from ttt_cli.evaluate.peak_memory import forget_peak, peak_mebibytes
from ttt_cli.metrics.base import Metric
from ttt_cli.metrics.consistency import Consistency
from ttt_cli.metrics.table import metric_from_json
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.model.weights import Weights, weights_for
from ttt_cli.run.settings import RunSettings
from ttt_cli.tasks.base import Task
from ttt_cli.tasks.table import TASKS
from ttt_cli.video.transforms import for_model


@dataclass(frozen=True)
class Cell:
    """One pass. window: None where the method has none to choose. seed: None where nothing is random."""

    stream: str
    method: str
    window: int | None
    seed: int | None


@dataclass(frozen=True)
class Entrant:
    """A method ready to run.

    model: given back as it was. task: what is predicted. settings: window and seed in them are replaced by those of
    the cell. size: shortest side, in pixels, of what the model sees; scores are taken at the size of the frames.
    consistency: how little its predictions flicker is measured too.
    """

    model: TwoHeadedModel
    task: Task
    settings: AdaptationSettings
    reconstruction: ReconstructionSettings
    size: int
    consistency: bool = False


@dataclass
class PassTally:
    """What one pass measured, frame by frame; passes over several streams add up.

    scored: the frames that have a label, by number from 0, in the order of `metric.frame_scores`.
    losses: None where a frame was not trained on. adapt_seconds, predict_seconds: of model time, for each frame.
    study_seconds: of training before the first frame. peak_mebibytes: of memory, None where that is not known.
    consistency: how little the prediction flickers, where that was asked for.
    """

    metric: Metric
    consistency: Metric | None = None
    scored: list[int] = field(default_factory=list)
    losses: list[float | None] = field(default_factory=list)
    adapt_seconds: list[float] = field(default_factory=list)
    predict_seconds: list[float] = field(default_factory=list)
    study_seconds: float = 0.0
    skipped_steps: int = 0
    peak_mebibytes: float | None = None

    @property
    def frames(self) -> int:
        """How many were predicted."""
        return len(self.predict_seconds)

    def add(self, result: Result, truth: Labels | None, size: tuple[int, int]) -> None:
        """Counts one frame of `size` (height, width), and scores it where it has a label."""
        if truth is not None:
            self.scored.append(self.frames)
            self.metric.update(result.prediction.at_size(size), truth)
        self.losses.append(result.loss)
        self.skipped_steps += result.skipped_steps
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
        peaks = [peak for peak in (self.peak_mebibytes, other.peak_mebibytes) if peak is not None]
        self.peak_mebibytes = max(peaks, default=None)
        return self

    def as_json(self) -> dict[str, Any]:
        """Everything, so that `from_json` gives the same tally back."""
        own = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        consistency = None if self.consistency is None else self.consistency.as_json()
        return {**own, "metric": self.metric.as_json(), "consistency": consistency}

    @staticmethod
    def from_json(content: dict[str, Any]) -> PassTally:
        """Reads what `as_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
        consistency = content["consistency"]
        return PassTally(
            **{
                **content,
                "metric": metric_from_json(content["metric"]),
                "consistency": None if consistency is None else metric_from_json(consistency),
            }
        )


def entrants(
    weights: Weights, settings: Mapping[str, RunSettings], device: torch.device, consistency: bool = False
) -> dict[str, Entrant]:
    """Every method of `settings` with its model; methods with the same weights share one model."""
    models: dict[Path, TwoHeadedModel] = {}
    ready = {}
    for name, one in settings.items():
        own = weights_for(name, weights)
        if own.path not in models:
            models[own.path] = own.load().to(device)
        task = TASKS[one.task.task](weights.classes, one.task)
        ready[name] = Entrant(models[own.path], task, one.adaptation, one.reconstruction, one.input.size, consistency)
    return ready


def plan(
    entrants: Mapping[str, Entrant], streams: Sequence[Stream], windows: Sequence[int], seeds: Sequence[int]
) -> list[Cell]:
    """The cells to run, in order. What moves no parameter is run once, and what fixes its window with that alone."""
    cells = []
    for name, entrant in entrants.items():
        method = method_named(name)
        moves = any(True for _ in method.parameters(entrant.model))
        chooses = moves and method.window is None
        for window in windows if chooses else [None]:
            for seed in seeds if moves else [None]:
                cells += [Cell(stream.name, name, window, seed) for stream in streams]
    return cells


def measure(
    cell: Cell,
    stream: Stream,
    entrant: Entrant,
    on_frame: Callable[[Result], None] = lambda result: None,
    on_offline_step: OnOfflineStep = lambda done, total: None,
) -> PassTally:
    """Runs one cell over its stream, whose labels meet the predictions here and nowhere earlier."""
    settings = entrant.settings
    window = settings.window if cell.window is None else cell.window
    chosen = dataclasses.replace(settings, method=cell.method, window=window, seed=cell.seed or 0)
    device = next(entrant.model.parameters()).device
    forget_peak(device)
    adapter = Adapter(entrant.model, entrant.task, chosen, entrant.reconstruction, device)
    video = for_model(stream.video, entrant.size, entrant.task.preprocess)

    def scored(results: Iterable[Result]) -> PassTally:
        tally = PassTally(entrant.task.new_metric())
        flicker = Consistency(tally.metric.names, entrant.task.settings.shown_score) if entrant.consistency else None
        for result in results:
            tally.add(result, entrant.task.truth_of(result.frame, stream.truth), stream.video.size)
            if flicker is not None:
                seen = result.frame.image
                flicker.update(seen, result.prediction.at_size((seen.shape[-2], seen.shape[-1])))
            on_frame(result)
        tally.study_seconds = adapter.offline_seconds
        tally.consistency = None if flicker is None else flicker.metric
        return tally

    if isinstance(adapter.method, OfflineOracle):
        tally = _best_epoch(adapter, adapter.method.epochs, video, scored, on_offline_step)
    else:
        tally = scored(adapt(video, adapter, on_offline_step))
    tally.peak_mebibytes = peak_mebibytes(device)
    return tally


def _best_epoch(
    adapter: Adapter,
    count: int,
    video: Video,
    scored: Callable[[Iterable[Result]], PassTally],
    on_offline_step: OnOfflineStep,
) -> PassTally:
    """The best of the models that offline training passes through, by the labels: nobody could choose it in earnest."""
    epochs = []
    try:
        for _ in range(count):
            train_offline(adapter, video, on_offline_step)
            epochs.append(scored(adapter.step(frame) for frame in video.frames()))
    finally:
        adapter.restore()
    return max(epochs, key=lambda tally: tally.metric.compute().pooled)
