"""Methods, windows and seeds against each other on labelled streams.

One cell is one pass: a method with one window and one seed over one stream. Cells do not depend on each other, so an
interrupted evaluation can go on with those that are missing. comparison.py turns their tallies into scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from ttt_cli.adaptation.methods import method_named
from ttt_cli.adaptation.online import Adapter, OnStudy, adapt
from ttt_cli.adaptation.reconstruction import ReconstructionSettings
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.frame import Frame, Result, Video
from ttt_cli.core.labels import Instances, Labels
from ttt_cli.datasets.low_light import low_light
from ttt_cli.datasets.old_film import old_film
from ttt_cli.datasets.stream import Stream
from ttt_cli.evaluate.peak_memory import forget_peak, peak_mebibytes
from ttt_cli.metrics.base import Metric
from ttt_cli.metrics.consistency import Consistency
from ttt_cli.metrics.table import metric_from_json
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.model.weights import Weights, weights_for
from ttt_cli.run.settings import RunSettings
from ttt_cli.tasks.base import Task
from ttt_cli.tasks.table import TASKS
from ttt_cli.video.transforms import changed, for_model


def _in_low_light(frame: Frame) -> Tensor:
    return low_light(frame.image, frame.index)


def _on_old_film(frame: Frame) -> Tensor:
    return old_film(frame.image, frame.index)


DEGRADATIONS: dict[str, Callable[[Frame], Tensor]] = {"low-light": _in_low_light, "old-film": _on_old_film}


# After each, the oracle may stop: the paper's best iteration is near 1000 steps on videos of 100 to 1000 frames.
ORACLE_EPOCHS = 4


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


def fitting(streams: Sequence[Stream], classes: Sequence[Class], task: str) -> list[Stream]:
    """The streams that weights with these classes can be scored on.

    Objects may be of some of the classes only; they are found by name. Streams of objects that the weights do not know
    are left out with a warning. Raises TttvError where none is left, and where pixels are labelled with other classes.
    """
    names = [one.name for one in classes]
    kept, gone = [], []
    for stream in streams:
        asked = [one.name for one in stream.classes]
        if asked == names:
            kept.append(stream)
        elif task == "instance" and set(asked) <= set(names):
            kept.append(dataclasses.replace(stream, classes=tuple(classes), truth=_renamed(stream, names)))
        else:
            gone.append(f"{printable(stream.name)}: labelled with {_few(set(asked) - set(names) or set(asked))}")
    if not kept or (gone and task != "instance"):
        raise TttvError(f"{gone[0]}, which is not what the weights know: {_few(names)}; choose others with --weights")
    warnings = [f"{one}, which the weights do not know: left out" for one in gone]
    kept[0] = dataclasses.replace(kept[0], warnings=(*kept[0].warnings, *warnings))
    return kept


def _renamed(stream: Stream, names: Sequence[str]) -> Callable[[str], Labels | None]:
    """The stream's truth, its objects' classes as positions in `names`."""
    places = [names.index(one.name) for one in stream.classes]

    def truth(name: str) -> Labels | None:
        labels = stream.truth(name)
        return None if labels is None else Instances.expect(labels).renamed(places)

    return truth


def _few(names: Iterable[str]) -> str:
    listed = sorted(printable(name) for name in names)
    return ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")


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
        chooses = moves and method.window is None and not method.sees_all_first
        for window in windows if chooses else [None]:
            for seed in seeds if moves else [None]:
                cells += [Cell(stream.name, name, window, seed) for stream in streams]
    return cells


def measure(
    cell: Cell,
    stream: Stream,
    entrant: Entrant,
    on_frame: Callable[[Result], None] = lambda result: None,
    on_study: OnStudy = lambda done, total: None,
) -> PassTally:
    """Runs one cell over its stream, whose labels meet the predictions here and nowhere earlier."""
    settings = entrant.settings
    window = settings.window if cell.window is None else cell.window
    chosen = dataclasses.replace(settings, method=cell.method, window=window, seed=cell.seed or 0)
    device = next(entrant.model.parameters()).device
    forget_peak(device)
    adapter = Adapter(entrant.model, entrant.task, chosen, entrant.reconstruction, device)
    video = for_model(stream.video, entrant.size, entrant.task.seen)

    def scored(results: Iterable[Result]) -> PassTally:
        tally = PassTally(entrant.task.new_metric())
        flicker = Consistency(tally.metric.names, entrant.task.settings.shown_score) if entrant.consistency else None
        for result in results:
            tally.add(result, entrant.task.truth_of(result.frame, stream.truth), stream.video.size)
            if flicker is not None:
                seen = result.frame.image
                flicker.update(seen, result.prediction.at_size((seen.shape[-2], seen.shape[-1])))
            on_frame(result)
        tally.study_seconds = adapter.study_seconds
        tally.consistency = None if flicker is None else flicker.metric
        return tally

    if adapter.method.oracle:
        tally = _best_epoch(adapter, video, scored, on_study)
    else:
        tally = scored(adapt(video, adapter, on_study))
    tally.peak_mebibytes = peak_mebibytes(device)
    return tally


def _best_epoch(
    adapter: Adapter, video: Video, scored: Callable[[Iterable[Result]], PassTally], on_study: OnStudy
) -> PassTally:
    """The best of the models that offline training passes through, by the labels: nobody could choose it in earnest."""
    epochs = []
    try:
        for _ in range(ORACLE_EPOCHS):
            adapter.study(video, on_study)
            epochs.append(scored(adapter.step(frame) for frame in video.frames()))
    finally:
        adapter.restore()
    return max(epochs, key=lambda tally: tally.metric.compute().pooled)
