"""Makes one run: reads a video and writes an overlay video, masks and a log.

    open_video -> prefetch (thread) -> adapt() -> Outputs (thread) -> overlay.mp4, masks/, frames.jsonl
                                              \\-> RunScores -> metrics.json, if there are labels

The queues between the threads are short, so memory does not grow with the length of the video.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch

from ttt_cli.adaptation.methods import method_named
from ttt_cli.adaptation.methods.offline import OfflineOracle
from ttt_cli.adaptation.offline import OnOfflineStep
from ttt_cli.adaptation.online import Adapter, adapt
from ttt_cli.adaptation.out_of_memory import explained
from ttt_cli.core.errors import PartialInput, PartialOutput, TttvError, UsageError, printable
from ttt_cli.core.frame import Frame, Video
from ttt_cli.datasets.labels import class_map, label_truth
from ttt_cli.model.weights import Weights
from ttt_cli.run.folder import RunFolder, claimed, write_json
from ttt_cli.run.frame_record import FrameRecord, read_frame_records
from ttt_cli.run.label_files import check_formats
from ttt_cli.run.outputs import Outputs, Step
from ttt_cli.run.peak_memory import forget_peak, peak_mebibytes
from ttt_cli.run.precision import with_quicker_precision
from ttt_cli.run.record import Report, RunScores, RunTotals, new_report
from ttt_cli.run.settings import RunSettings, task_of
from ttt_cli.tasks.semantic import SemanticTask
from ttt_cli.tasks.table import TASKS
from ttt_cli.video.live import LiveSource
from ttt_cli.video.threads import Stopwatch, prefetch
from ttt_cli.video.transforms import for_model, open_input, within

FRAMES_AHEAD = 4


@dataclass(frozen=True)
class RunRequest:
    """What to run, with which weights and settings, and where to write."""

    source: str | LiveSource
    """A video file, a folder or glob of pictures, or live input."""
    weights: Weights
    settings: RunSettings
    device: torch.device
    out: Path | None = None
    """Folder to write. None is runs/NAME-METHOD (or NAME-METHOD-TASK) in the current folder."""
    truth: Path | None = None
    """Folder of labels named like the frames."""
    gray_first: bool = False
    """Score the predicted colors against the video's own."""
    overwrite: bool = False
    """Replace an earlier run in the folder."""


@dataclass(frozen=True)
class Run:
    """A finished run. Iterating over it reads the record of each frame from its frames.jsonl."""

    folder: RunFolder
    """Paths of everything written: `folder.path`, `folder.overlay`, `folder.masks` and so on."""
    report: Report
    """The content of run.json; its status is "done", "partial" or "interrupted"."""
    scores: RunScores | None
    """None without labels."""

    def __iter__(self) -> Iterator[FrameRecord]:
        return read_frame_records(self.folder.frames)


def run_video(
    request: RunRequest,
    on_start: Callable[[Video], None] = lambda video: None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_offline_step: OnOfflineStep = lambda done, total: None,
) -> Run:
    """Makes one run. Whatever stops it, it leaves a run folder with finished, playable files.

    on_start: called after the first frame. on_step: called after every frame. on_offline_step: called at each step of a
    method that trains before the first frame.
    Raises UsageError for a method that chooses by labels. Raises TttvError if the input, labels, weights or output
    folder cannot be used; if not even the first frame could be predicted, nothing has been written.
    """
    method, task = request.settings.adaptation.method, request.settings.task.task
    check_formats(task, request.settings.output.formats)
    if isinstance(method_named(method), OfflineOracle):
        raise UsageError(f"{method} uses the labels; it is available only in tttv eval")
    video = open_input(request.source, request.settings.input)
    settings, precision_note = with_quicker_precision(request.weights, request.settings, video, request.device)
    request = dataclasses.replace(request, settings=settings)
    scores = _scores(request, video)
    folder = RunFolder(request.out or Path("runs") / f"{video.name}-{method}{'' if task == 'semantic' else f'-{task}'}")
    folder.check(video.path, request.overwrite)
    began = time.perf_counter()
    forget_peak(request.device)
    with explained(), closing(_steps(video, request, on_offline_step)) as steps:
        first = next(steps)
        with claimed(folder, video.path, request.overwrite):
            on_start(video)
            report = new_report(video, request.weights, request.settings, request.device)
            totals = RunTotals()
            outputs = Outputs(folder, video, request.weights.classes, request.settings)
            report.files = folder.names()
            with _recorded(report, folder), explained():
                write_json(folder.run, report.as_json())
                try:
                    with outputs:
                        for step in chain([first], steps):
                            outputs.put(step)
                            totals.update(step)
                            if scores is not None:
                                scores.update(step)
                            on_step(step)
                finally:
                    totals.write_to(report)
                    report.frames = outputs.frames  # Ctrl-C may come when a frame is written but not in the totals.
                    stages = {**totals.milliseconds, **outputs.milliseconds}
                    report.seconds = {stage: round(spent / 1000, 3) for stage, spent in stages.items()}
                    report.seconds["total"] = round(time.perf_counter() - began, 3)
                    peak = peak_mebibytes(request.device)
                    report.peak_memory_mib = None if peak is None else round(peak, 1)
                    report.audio_note = outputs.audio_note
                    notes = [note for note in (*video.notes, precision_note) if note]
                    report.warnings = notes + _warnings(request, totals, scores)
                    if scores is not None:
                        write_json(folder.metrics, scores.as_json())
                    report.files = folder.written()
                if outputs.missing:
                    raise PartialOutput(f"{printable(folder.path)}: deleted while it ran: {', '.join(outputs.missing)}")
    return Run(folder, report, scores)


def _scores(request: RunRequest, video: Video) -> RunScores | None:
    settings, classes = request.settings, request.weights.classes
    if request.gray_first:
        task = TASKS[settings.task.task](classes, settings.task)
        return RunScores(lambda name: None, task, settings.adaptation.method)
    if request.truth is None:
        return None
    if settings.task.task != "semantic":
        raise UsageError(f"--gt takes class ids, which do not score the task {settings.task.task}; use tttv eval")
    truth = label_truth(request.truth, video, lambda path: class_map(path, video.size, len(classes), len(classes)))
    return RunScores(truth, SemanticTask(classes), settings.adaptation.method)


def _steps(video: Video, request: RunRequest, on_offline_step: OnOfflineStep) -> Generator[Step, None, None]:
    """Passes the video through the model: yields a step for each frame, with labels at the size of the input."""
    settings = request.settings
    model = request.weights.load().to(request.device)
    task = task_of(request.weights, settings)
    fixed: Adapter | None = None
    if settings.output.compare:
        fixed_settings = dataclasses.replace(settings.adaptation, method="joint")
        fixed = Adapter(copy.deepcopy(model), task, fixed_settings, settings.reconstruction, request.device)
    adapter = Adapter(model, task, settings.adaptation, settings.reconstruction, request.device)
    stopwatch = Stopwatch()
    area = task.area_of(video)
    smaller = for_model(within(video, area), settings.input.size, task.preprocess)

    def frames() -> Iterator[Frame]:
        with closing(prefetch(smaller.frames(), FRAMES_AHEAD, stopwatch, video.interrupt)) as ahead:
            yield from ahead

    for result in adapt(dataclasses.replace(smaller, frames=frames), adapter, on_offline_step):
        milliseconds = {
            "decode": stopwatch.last_seconds * 1000,
            "adapt": result.timing.adapt_milliseconds,
            "predict": result.timing.predict_milliseconds,
        }
        fixed_labels = None
        if fixed is not None:
            fixed_result = fixed.step(result.frame)
            fixed_labels = fixed_result.prediction.at_size(video.size).placed(area)
            milliseconds["predict_fixed"] = fixed_result.timing.predict_milliseconds
            notes = (result.out_of_memory, fixed_result.out_of_memory)
            result = dataclasses.replace(result, out_of_memory=next(filter(None, notes), None))
        yield Step(result, result.prediction.at_size(video.size).placed(area), fixed_labels, milliseconds)


def _warnings(request: RunRequest, totals: RunTotals, scores: RunScores | None) -> list[str]:
    warnings = list(totals.out_of_memory)
    if scores is not None:
        warnings += scores.task.new_metric().missing_metrics()
    if totals.has_colors and not request.gray_first:
        warnings.append("the input's own colors are not used; tttv colorize --gray-first scores the result by them")
    if totals.frames and totals.gray_frames == totals.frames:
        warnings.append("every frame looks like a title card, so none was colored; title_cards = false would try")
    return warnings


@contextmanager
def _recorded(report: Report, folder: RunFolder) -> Iterator[None]:
    """Writes run.json at the end, however the run ends. Partial input or output and Ctrl-C are not raised as errors."""
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
    write_json(folder.run, report.as_json())


def _cause(error: BaseException, folder: RunFolder) -> str:
    if isinstance(error, OSError):
        path = printable(error.filename or folder.path)
        return f"{path}: cannot be written ({error.strerror}); make room, or name another folder with --out"
    return str(error) or type(error).__name__
