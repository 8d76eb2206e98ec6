"""Runs a whole evaluation in its own folder, for `tttv eval` and benchmarks/streams.py.

The folder keeps every finished cell, so a stopped evaluation can continue and a larger evaluation can start from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.workers import in_processes
from ttt_cli.evaluate.cells import Measured, Measuring, PreparedExperiment, Progress, video_of
from ttt_cli.evaluate.comparison import Record, Summary, records_of, summarize, write_csv, write_latex
from ttt_cli.evaluate.evaluation import Cell, PassTally, plan
from ttt_cli.evaluate.experiment import Experiment
from ttt_cli.evaluate.journal import CELLS, Finished, Journal
from ttt_cli.evaluate.results import (
    BY_DETECTRON,
    LATEX,
    METRICS,
    TABLE,
    UNFINISHED,
    check_absent,
    claim,
    clear_unfinished,
)
from ttt_cli.model.opening import weights_for
from ttt_cli.run.folder import write_json
from ttt_cli.run.lock import locked
from ttt_cli.run.record import command_line, machine, versions
from ttt_cli.run.settings import adaptation_record


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

    def progress(self, cell: Cell, progress: Progress) -> None:
        """Called after each frame, and after each training step before the first one."""

    def finish(self, cell: Cell, score: float) -> None:
        """Called after each cell; score: its pooled score, in the metric's unit."""


def run_experiment(
    experiment: Experiment, folder: Path, overwrite: bool, watcher: Watcher, workers: int = 1
) -> Outcome:
    """Runs the cells that the folder does not have yet, and writes metrics.json, metrics.csv and metrics.tex.

    overwrite: delete earlier results in the folder. workers: how many processes measure cells; if more than one, the
    experiment must have a source. What is written depends on it in times and memory, and else only as far as the
    number of threads of a process changes the last bits of sums.
    Raises TttvError if the folder is in use, cannot be written, or is of an experiment that differs in more than
    methods, windows and seeds. After this and after Ctrl-C, the finished cells are kept.
    """
    prepared = PreparedExperiment.of(experiment, folder)
    cells = plan(prepared.methods, experiment.streams, experiment.windows, experiment.seeds)
    subject = experiment.subject()
    checksums = {name: weights_for(name, experiment.weights).checksum() for name in prepared.methods}
    with locked(folder):
        with _writing(folder):
            claim(folder, overwrite)
            journal = Journal(folder / CELLS, subject)
        missing = [cell for cell in cells if not journal.has(cell, checksums[cell.method])]
        with _videos_announced(folder, journal, {name for cell in missing if (name := video_of(experiment, cell))}):
            lengths = {stream.name: stream.video.length or 0 for stream in experiment.streams}
            watcher.start(sum(lengths[cell.stream] for cell in missing))
            with closing(_measured(prepared, missing, watcher, workers)) as results:
                for cell, measured in results:
                    with _writing(folder):
                        journal.add(cell, Finished(measured.tally, checksums[cell.method], measured.detectron))
                    watcher.finish(cell, measured.tally.metric.compute().pooled)
        outcome = _outcome(experiment, subject, {cell: journal.finished[cell].tally for cell in cells})
        with _writing(folder):
            journal.arrange(cells)
            write_json(folder / METRICS, outcome.content)
            write_csv(folder / TABLE, outcome.records)
            write_latex(folder / LATEX, outcome.summary)
            _write_detectron(folder / BY_DETECTRON, {cell: journal.finished[cell] for cell in cells})
    return outcome


def _measured(
    prepared: PreparedExperiment, cells: Sequence[Cell], watcher: Watcher, workers: int
) -> Generator[tuple[Cell, Measured], None, None]:
    """Yields what came out of the cells as they are finished. Raises KeyboardInterrupt at the end if not all are."""
    if workers == 1:
        for cell in cells:
            yield cell, prepared.measure(cell, partial(watcher.progress, cell))
        return
    experiment, finished = prepared.experiment, 0
    assert experiment.source is not None
    work = Measuring(dataclasses.replace(experiment, streams=()), experiment.source, prepared.folder)
    with closing(in_processes(cells, work, workers, watcher.progress)) as results:
        for cell, result in results:
            if isinstance(result, Measured):
                finished += 1
                yield cell, result
            elif not isinstance(result, KeyboardInterrupt):
                raise result
    if finished < len(cells):
        raise KeyboardInterrupt


@contextmanager
def _videos_announced(folder: Path, journal: Journal, videos: set[str]) -> Iterator[None]:
    """Makes sure that these videos may be written, and makes room for their pieces."""
    check_absent(folder, videos - journal.videos)
    with _writing(folder):
        journal.announce(videos)
        if videos:
            (folder / UNFINISHED).mkdir(exist_ok=True)
    try:
        yield
    finally:
        clear_unfinished(folder, videos)


def _write_detectron(path: Path, finished: Mapping[Cell, Finished]) -> None:
    """Writes detectron2's scores of the cells that have any."""
    passes = [
        {**dataclasses.asdict(cell), "scores": kept.detectron}
        for cell, kept in finished.items()
        if kept.detectron is not None
    ]
    if passes:
        write_json(path, {"passes": passes})


def _outcome(experiment: Experiment, subject: dict[str, Any], tallies: Mapping[Cell, PassTally]) -> Outcome:
    records = records_of(tallies)
    summary = summarize(records)
    ran_out = [
        f"{cell.stream}, {cell.method}: {note}" for cell, tally in tallies.items() for note in tally.out_of_memory
    ]
    content = {
        **subject,
        "command": command_line(),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
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
