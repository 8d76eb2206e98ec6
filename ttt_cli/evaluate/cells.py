"""Measures single cells of an experiment, with all that is wanted beside the score, in this process or in others."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ttt_cli.adaptation.methods import method_named
from ttt_cli.adaptation.methods.offline import OfflineOracle
from ttt_cli.adaptation.out_of_memory import explained
from ttt_cli.core.classes import things_of
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.frame import Result
from ttt_cli.core.workers import Work
from ttt_cli.datasets.source import StreamSource
from ttt_cli.datasets.stream import Stream
from ttt_cli.draw.drawing import Drawing, Pane
from ttt_cli.draw.tracks import Tracks
from ttt_cli.evaluate.detectron import DetectronEvaluation
from ttt_cli.evaluate.evaluation import Cell, PassTally, PreparedMethod, measure, prepare_methods
from ttt_cli.evaluate.experiment import Experiment
from ttt_cli.evaluate.results import UNFINISHED
from ttt_cli.video.writer import VideoWriter

OnFrame = Callable[[Result], None]


@dataclass(frozen=True)
class FrameDone:
    """A frame of a cell is predicted."""

    loss: float | None
    """None if it was not trained on."""
    out_of_memory: str | None
    """What was done if memory ran out, one line."""


@dataclass(frozen=True)
class OfflineStep:
    """A training step before a cell's first frame is done."""

    done: int
    """Steps so far."""
    total: int


Progress = FrameDone | OfflineStep
OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Measured:
    """What came out of a cell."""

    tally: PassTally
    detectron: dict[str, float] | None
    """Scores by detectron2, if they were wanted."""


@dataclass(frozen=True)
class PreparedExperiment:
    """An experiment with its models, ready to be measured."""

    experiment: Experiment
    methods: Mapping[str, PreparedMethod]
    folder: Path
    """Where overlay videos go."""

    @staticmethod
    def of(experiment: Experiment, folder: Path) -> PreparedExperiment:
        """Loads the models."""
        methods = prepare_methods(experiment.weights, experiment.settings, experiment.device, experiment.consistency)
        return PreparedExperiment(experiment, methods, folder)

    def measure(self, cell: Cell, on_progress: OnProgress) -> Measured:
        """Measures a cell, and writes its overlay video if it has one."""
        stream = {stream.name: stream for stream in self.experiment.streams}[cell.stream]
        prepared = self.methods[cell.method]
        evaluation = None
        if self.experiment.detectron and not _is_oracle(cell):
            evaluation = DetectronEvaluation(prepared.task.name, prepared.task.classes)
        with explained(), _recording(self.experiment, stream, cell, self.folder) as record:

            def on_frame(result: Result) -> None:
                record(result)
                truth = None if evaluation is None else prepared.task.truth_of(result.frame, stream.truth)
                if evaluation is not None and truth is not None:
                    evaluation.update(result.prediction.at_size(stream.video.size), truth)
                on_progress(FrameDone(result.loss, result.out_of_memory))

            def on_offline_step(done: int, total: int) -> None:
                on_progress(OfflineStep(done, total))

            tally = measure(cell, stream, prepared, on_frame, on_offline_step)
        return Measured(tally, None if evaluation is None else evaluation.compute())


@dataclass(frozen=True)
class Measuring(Work[Cell, Progress, Measured | BaseException]):
    """Measures cells in another process, which opens the streams and loads the models once; errors are results."""

    experiment: Experiment
    """Without its streams: they hold functions, which cannot be sent."""
    source: StreamSource
    folder: Path
    """As in PreparedExperiment."""

    @cached_property
    def _prepared(self) -> PreparedExperiment:
        return PreparedExperiment.of(replace(self.experiment, streams=self.source.open()), self.folder)

    def perform(self, unit: Cell, note: OnProgress) -> Measured | BaseException:
        """What came out of the cell, or the error, or a KeyboardInterrupt."""
        try:
            return self._prepared.measure(unit, note)
        except (TttvError, KeyboardInterrupt) as error:
            return error
        except Exception as error:
            cause = f"{type(error).__name__}: {error} (unexpected; --workers 1 and TTTV_DEBUG=1 show details)"
            return TttvError(f"{_title(unit)}: {cause}")

    def lost(self, unit: Cell, reason: str | None) -> Measured | BaseException:
        """An error, or a KeyboardInterrupt."""
        if reason is None:
            return KeyboardInterrupt()
        return TttvError(f"{_title(unit)}: {reason}; what is finished is kept, try again with fewer --workers")

    def is_interrupted(self, result: Measured | BaseException) -> bool:
        """Whether it was Ctrl-C."""
        return isinstance(result, KeyboardInterrupt)


def video_of(experiment: Experiment, cell: Cell) -> str | None:
    """The name of the cell's overlay video; None if it needs none."""
    if _is_oracle(cell) or not experiment.videos or cell.seed not in (None, experiment.seeds[0]):
        return None
    window = "" if cell.window is None else f"-window-{cell.window or 'inf'}"
    return f"{cell.stream}-{cell.method}{window}.mp4".replace(":", "-")  # Windows allows no colon in names of files.


def _is_oracle(cell: Cell) -> bool:
    return isinstance(method_named(cell.method), OfflineOracle)


def _title(cell: Cell) -> str:
    return f"{printable(cell.stream)}, {cell.method}"


@contextmanager
def _recording(experiment: Experiment, stream: Stream, cell: Cell, folder: Path) -> Iterator[OnFrame]:
    """A function that writes frames with their overlay to the cell's video, or does nothing if it needs none."""
    name = video_of(experiment, cell)
    if name is None:
        yield lambda result: None
        return
    settings, size = experiment.common, stream.video.size
    tracks = Tracks(things_of(stream.classes), settings.task.shown_score)
    drawing = Drawing(stream.classes, replace(settings.output, layout="overlay"), settings.task.shown_score, size)
    pieces = folder / UNFINISHED / name
    shutil.rmtree(pieces, ignore_errors=True)  # A process that was killed may have left some.
    pieces.mkdir()
    try:
        with VideoWriter(folder / name, stream.video.fps, drawing.size, folder=pieces) as writer:

            def record(result: Result) -> None:
                labels = tracks.numbered(result.prediction.at_size(size))
                writer.write(drawing.picture(result.frame.whole().image, [Pane(cell.method, labels)]))

            yield record
    finally:
        shutil.rmtree(pieces, ignore_errors=True)
