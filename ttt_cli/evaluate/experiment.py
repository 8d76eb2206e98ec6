"""A whole evaluation in its own folder, for `tttv eval` and benchmarks/streams.py.

The folder keeps every finished cell, so a stopped evaluation can continue and a larger evaluation can start from it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ttt_cli.adaptation.methods import method_named
from ttt_cli.adaptation.methods.offline import OfflineOracle
from ttt_cli.adaptation.out_of_memory import explained
from ttt_cli.core.classes import things_of
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.frame import Result
from ttt_cli.datasets.fingerprint import fingerprint
from ttt_cli.datasets.stream import Stream
from ttt_cli.draw.drawing import Drawing
from ttt_cli.draw.tracks import Tracks
from ttt_cli.evaluate.comparison import Record, Summary, records_of, summarize, write_csv, write_latex
from ttt_cli.evaluate.detectron import DetectronEvaluation
from ttt_cli.evaluate.evaluation import Cell, PassTally, PreparedMethod, measure, plan, prepare_methods
from ttt_cli.evaluate.journal import CELLS, EVALUATION, Finished, Journal
from ttt_cli.evaluate.results import BY_DETECTRON, LATEX, METRICS, TABLE, check_absent, claim
from ttt_cli.model.opening import weights_for
from ttt_cli.model.weights import Weights
from ttt_cli.run.folder import OWNER, write_json
from ttt_cli.run.lock import locked
from ttt_cli.run.overrides import Tables
from ttt_cli.run.record import machine, versions
from ttt_cli.run.settings import RunSettings, adaptation_record, task_of
from ttt_cli.video.writer import VideoWriter

OnFrame = Callable[[Result], None]


@dataclass(frozen=True)
class Experiment:
    """Which methods are compared on which streams, and how."""

    data: dict[str, Any]
    """Where the streams come from, for the record."""
    streams: Sequence[Stream]
    weights: Weights
    settings: dict[str, RunSettings]
    """By method name."""
    common: RunSettings
    """Settings that all methods share, without the recommendations of any method."""
    windows: Sequence[int]
    seeds: Sequence[int]
    device: torch.device
    consistency: bool = False
    """Measure consistency too, see metrics/consistency.py."""
    videos: bool = False
    """Write an overlay video for each pass with the first seed."""
    detectron: bool = False
    """Score by detectron2's evaluators too, see evaluate/detectron.py."""
    method_tables: Tables = field(default_factory=dict)
    """The user's settings for single methods."""

    @property
    def warnings(self) -> list[str]:
        """Data that is left out and metrics that are missing, one line each."""
        metric = task_of(self.weights, self.common).new_metric()
        return [*(warning for stream in self.streams for warning in stream.warnings), *metric.missing_metrics()]

    def subject(self) -> dict[str, Any]:
        """Everything that a cell's score depends on except stream, method, window and seed."""
        return {
            OWNER: EVALUATION,
            **self.data,
            "data_sha256": fingerprint(self.streams),
            "weights": self.weights.identity(),
            "input": dataclasses.asdict(self.common.input),
            "task": dataclasses.asdict(self.common.task),
            "adaptation": adaptation_record(self.common.adaptation),
            **({"adaptation_by_method": self.method_tables} if self.method_tables else {}),
            "reconstruction": dataclasses.asdict(self.common.reconstruction),
            "device": str(self.device),
            "consistency": self.consistency,
        }


@dataclass(frozen=True)
class Outcome:
    """The result of an experiment."""

    content: dict[str, Any]
    """Content of metrics.json."""
    summary: list[Summary]
    records: list[Record]


class Watcher:
    """Receives the progress of an experiment. This base class ignores it."""

    def start(self, frames: int) -> None:
        """frames: expected number over all cells that are not finished yet."""

    def frame(self, cell: Cell, result: Result) -> None:
        """Called after each frame."""

    def offline_step(self, cell: Cell, done: int, total: int) -> None:
        """Called after each training step before the first frame; done: steps so far."""

    def finish(self, cell: Cell, score: float) -> None:
        """Called after each cell; score: its pooled score, in the metric's unit."""


def run_experiment(experiment: Experiment, folder: Path, overwrite: bool, watcher: Watcher) -> Outcome:
    """Runs the cells that the folder does not have yet, and writes metrics.json, metrics.csv and metrics.tex.

    overwrite: delete earlier results in the folder. Raises TttvError if the folder is in use, cannot be written, or is
    of an experiment that differs in more than methods, windows and seeds.
    """
    methods = prepare_methods(experiment.weights, experiment.settings, experiment.device, experiment.consistency)
    cells = plan(methods, experiment.streams, experiment.windows, experiment.seeds)
    by_name = {stream.name: stream for stream in experiment.streams}
    subject = experiment.subject()
    checksums = {name: weights_for(name, experiment.weights).checksum() for name in methods}
    with locked(folder):
        with _writing(folder):
            claim(folder, overwrite)
            journal = Journal(folder / CELLS, subject)
        missing = [cell for cell in cells if not journal.has(cell, checksums[cell.method])]
        videos = {cell: name for cell in missing if (name := _video_of(experiment, cell))}
        check_absent(folder, set(videos.values()) - {finished.video for finished in journal.finished.values()})
        watcher.start(sum(by_name[cell.stream].video.length or 0 for cell in missing))
        for cell in missing:
            stream = by_name[cell.stream]
            prepared = methods[cell.method]
            with (
                explained(),
                _recording(experiment, stream, folder, videos.get(cell)) as record,
                _by_detectron(experiment, cell, stream, prepared, folder) as score,
            ):

                def on_frame(
                    result: Result, cell: Cell = cell, record: OnFrame = record, score: OnFrame = score
                ) -> None:
                    record(result)
                    score(result)
                    watcher.frame(cell, result)

                tally = measure(cell, stream, prepared, on_frame, partial(watcher.offline_step, cell))
            journal.add(cell, Finished(tally, checksums[cell.method], videos.get(cell)))
            watcher.finish(cell, tally.metric.compute().pooled)
        outcome = _outcome(experiment, subject, {cell: journal.finished[cell].tally for cell in cells})
        with _writing(folder):
            write_json(folder / METRICS, outcome.content)
            write_csv(folder / TABLE, outcome.records)
            write_latex(folder / LATEX, outcome.summary)
    return outcome


def _video_of(experiment: Experiment, cell: Cell) -> str | None:
    """The name of the cell's overlay video; None if it needs none."""
    oracle = isinstance(method_named(cell.method), OfflineOracle)
    if oracle or not experiment.videos or cell.seed not in (None, experiment.seeds[0]):
        return None
    window = "" if cell.window is None else f"-window-{cell.window or 'inf'}"
    return f"{cell.stream}-{cell.method}{window}.mp4".replace(":", "-")  # Windows allows no colon in names of files.


@contextmanager
def _recording(experiment: Experiment, stream: Stream, folder: Path, name: str | None) -> Iterator[OnFrame]:
    """A function that writes frames with their overlay to the video `name`, or does nothing if that is None."""
    if name is None:
        yield lambda result: None
        return
    settings, size = experiment.common, stream.video.size
    tracks = Tracks(things_of(stream.classes), settings.task.shown_score)
    drawing = Drawing(stream.classes, settings.output, settings.task.shown_score)
    with (
        TemporaryDirectory(dir=folder, prefix=".pieces-") as pieces,
        VideoWriter(folder / name, stream.video.fps, size, folder=Path(pieces)) as writer,
    ):

        def record(result: Result) -> None:
            labels = tracks.numbered(result.prediction.at_size(size))
            writer.write(drawing.pictures(result.frame.whole().image, [labels])[0])

        yield record


@contextmanager
def _by_detectron(
    experiment: Experiment, cell: Cell, stream: Stream, prepared: PreparedMethod, folder: Path
) -> Iterator[OnFrame]:
    """A function that scores frames by detectron2, and adds the scores of the pass to a file, if that is wanted."""
    if not experiment.detectron or isinstance(method_named(cell.method), OfflineOracle):
        yield lambda result: None
        return
    task = prepared.task
    evaluation = DetectronEvaluation(task.name, task.classes)

    def score(result: Result) -> None:
        truth = task.truth_of(result.frame, stream.truth)
        if truth is not None:
            evaluation.update(result.prediction.at_size(stream.video.size), truth)

    yield score
    with _writing(folder):
        path = folder / BY_DETECTRON
        earlier = json.loads(path.read_text())["passes"] if path.is_file() else []
        write_json(path, {"passes": [*earlier, {**dataclasses.asdict(cell), "scores": evaluation.compute()}]})


def _outcome(experiment: Experiment, subject: dict[str, Any], tallies: dict[Cell, PassTally]) -> Outcome:
    records = records_of(tallies)
    summary = summarize(records)
    ran_out = [
        f"{cell.stream}, {cell.method}: {note}" for cell, tally in tallies.items() for note in tally.out_of_memory
    ]
    content = {
        **subject,
        "warnings": [*experiment.warnings, *ran_out],
        "score": next(iter(tallies.values())).metric.title,
        "unit": next(iter(tallies.values())).metric.unit,
        "settings": {name: adaptation_record(settings.adaptation) for name, settings in experiment.settings.items()},
        "machine": machine(experiment.device),
        "versions": versions(),
        "summary": [dataclasses.asdict(row) for row in summary],
        "records": [dataclasses.asdict(record) for record in records],
    }
    return Outcome(content, summary, records)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TttvError(f"{printable(folder)}: cannot be written ({error.strerror}); choose another --out") from error
