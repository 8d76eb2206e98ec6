"""How a run goes: its report, its totals and its scores, and how they get into run.json and metrics.json."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from ttt_cli.adaptation.strangeness import USUAL
from ttt_cli.core.errors import PartialInput, PartialOutput, TttvError, UsageError, printable
from ttt_cli.core.frame import Video
from ttt_cli.datasets.folder import labels_of_run
from ttt_cli.run.folder import FINISHED, RunFolder, write_json
from ttt_cli.run.journal import Checkpoint
from ttt_cli.run.outputs import Outputs
from ttt_cli.run.peak_memory import peak_mebibytes
from ttt_cli.run.precision import with_quicker_precision
from ttt_cli.run.record import Report, RunScores, RunTotals, new_report
from ttt_cli.run.request import RunRequest
from ttt_cli.run.steps import Step
from ttt_cli.tasks.semantic import SemanticTask
from ttt_cli.tasks.table import TASKS


class Bookkeeping:
    """The report of a run, its totals and its scores."""

    def __init__(self, request: RunRequest, video: Video, subject: dict[str, Any], saved: Checkpoint | None) -> None:
        """subject: what the run depends on. saved: of the run that this one resumes."""
        self.began = time.perf_counter()
        self.video = video
        self.scores = _scores(request, video)
        self.totals = RunTotals()
        if saved is None:
            settings, self.note = with_quicker_precision(request.weights, request.settings, video, request.device)
        else:
            state = saved.parts["bookkeeping"]
            adaptation = dataclasses.replace(request.settings.adaptation, precision=state["precision"])
            settings, self.note = dataclasses.replace(request.settings, adaptation=adaptation), state["note"]
        self.request = dataclasses.replace(request, settings=settings)
        self.report = new_report(video, request.weights, settings, request.device)
        self.report.depends_on = {name: value for name, value in subject.items() if name != "settings"}
        if saved is not None:
            self.report.started, self.report.resumed_at = state["started"], [*state["resumed_at"], saved.frames]
            self.began -= state["seconds"]
            self.totals.resume(state["totals"])
            if self.scores is not None:
                self.scores.resume(state["scores"])

    def update(self, step: Step) -> None:
        """Counts a frame."""
        self.totals.update(step)
        if self.scores is not None:
            self.scores.update(step)

    def state(self) -> dict[str, Any]:
        """For a run that resumes this one."""
        return {
            "precision": self.request.settings.adaptation.precision,
            "threads": torch.get_num_threads(),
            "note": self.note,
            "started": self.report.started,
            "resumed_at": self.report.resumed_at,
            "seconds": time.perf_counter() - self.began,
            "totals": self.totals.state(),
            "scores": None if self.scores is None else self.scores.state(),
        }

    @contextmanager
    def recorded(self, folder: RunFolder, outputs: Outputs) -> Iterator[None]:
        """Writes run.json at the beginning and, however the run ends, at its end, with metrics.json if it is scored."""
        self.report.files = folder.names()
        self.report.video_file = None if folder.video is None else str(folder.video.absolute())
        with _status_recorded(self.report, folder, is_live=self.video.path is None):
            write_json(folder.run, self.report.as_json())
            try:
                yield
            finally:
                self._fill(outputs)
                if self.scores is not None:
                    write_json(folder.metrics, self.scores.as_json())
                self.report.files = folder.written()
            if outputs.missing:
                raise PartialOutput(f"{printable(folder.path)}: deleted while it ran: {', '.join(outputs.missing)}")

    def _fill(self, outputs: Outputs) -> None:
        report, totals = self.report, self.totals
        totals.write_to(report)
        report.frames = outputs.frames  # Ctrl-C may come when a frame is written but not in the totals.
        stages = {**totals.milliseconds, **outputs.milliseconds}
        report.seconds = {stage: round(spent / 1000, 3) for stage, spent in stages.items()}
        report.seconds["total"] = round(time.perf_counter() - self.began, 3)
        peak = peak_mebibytes(self.request.device)
        report.peak_memory_mib = None if peak is None else round(peak, 1)
        report.audio_note = outputs.audio_note
        notes = [note for note in (*self.video.notes, self.note) if note]
        report.warnings = notes + _warnings(self.request, totals, self.scores)


def _scores(request: RunRequest, video: Video) -> RunScores | None:
    settings, classes = request.settings, request.weights.classes
    if request.gray_first:
        task = TASKS[settings.task.task](classes, settings.task)
        return RunScores(lambda name: None, task, settings.adaptation.method)
    if request.truth is None:
        if request.renames:
            raise UsageError("--map is for labels: name their folder with --gt")
        return None
    if settings.task.task != "semantic":
        raise UsageError(f"--gt takes class ids, which do not score the task {settings.task.task}; use tttv eval")
    truth, unlabeled = labels_of_run(request.truth, video, classes, request.renames)
    return RunScores(truth, SemanticTask(classes), settings.adaptation.method, unlabeled)


def _warnings(request: RunRequest, totals: RunTotals, scores: RunScores | None) -> list[str]:
    warnings = list(totals.out_of_memory)
    if scores is not None:
        warnings += scores.task.new_metric().missing_metrics()
    usual = USUAL.get(request.weights.name)
    if usual is not None and totals.strangeness is not None and totals.strangeness > usual:
        warnings.append(
            f"what these frames show is unlike all that {printable(request.weights.name)} was trained on (strangeness "
            f"{totals.strangeness:.2f}, usually below {usual}): look at the result before you trust it; other weights "
            "may know such scenes: tttv weights list --hub shows some, such as coco and ade20k"
        )
    if totals.has_colors and not request.gray_first:
        warnings.append("the input's own colors are not used; tttv colorize --gray-first scores the result by them")
    if totals.frames and totals.gray_frames == totals.frames:
        warnings.append("every frame looks like a title card, so none was colored; title_cards = false would try")
    return warnings


@contextmanager
def _status_recorded(report: Report, folder: RunFolder, is_live: bool) -> Iterator[None]:
    """Writes run.json at the end, however the run ends. Partial input or output and Ctrl-C are not raised as errors.

    What a run needs to go on is deleted if it is finished, or its input is live.
    """
    try:
        yield
        report.status = "done"
    except (PartialInput, PartialOutput) as error:
        report.status, report.reason = "partial", str(error)
    except KeyboardInterrupt:
        report.status, report.reason = "interrupted", "interrupted by the user"
    except BaseException as error:
        report.status, report.reason = "failed", _cause(error, folder)
        with suppress(OSError):  # The disk may be full; the error being raised then says so.
            write_json(folder.run, report.as_json())
        if isinstance(error, OSError):
            raise TttvError(report.reason) from error
        raise
    if report.status in FINISHED or is_live:
        folder.finish()
        report.files = folder.written()
    write_json(folder.run, report.as_json())


def _cause(error: BaseException, folder: RunFolder) -> str:
    if isinstance(error, OSError):
        path = printable(error.filename or folder.path)
        return f"{path}: cannot be written ({error.strerror}); make room, and go on with --resume"
    return str(error) or type(error).__name__
