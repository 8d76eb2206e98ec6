"""run.json and metrics.json: how a run went, and everything that its result depends on."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import statistics
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ttt_cli.core.color import is_colored
from ttt_cli.core.frame import Result, Video
from ttt_cli.core.labels import Labels
from ttt_cli.core.resumable import Resumable
from ttt_cli.core.version import __version__
from ttt_cli.draw.palette import PALETTES
from ttt_cli.metrics.base import Metric
from ttt_cli.model.weights import Weights
from ttt_cli.run.folder import OWNER
from ttt_cli.run.settings import RunSettings, settings_record
from ttt_cli.run.steps import Step
from ttt_cli.tasks.base import Task

LOSSES_AVERAGED = 10
"""Frames at either end of a run over which the loss is averaged."""
PIXEL_STRIDE = 8
"""Only every 8th row and column is checked to tell whether a frame has colors."""


@dataclass
class Report:
    """The content of run.json."""

    input: str
    """Path of the video file or folder, or what live input is called, without its password."""
    video: dict[str, Any]
    """Its frame rate and size."""
    reader: str
    """What read it: "ffmpeg", "decord" or "pillow"."""
    settings: RunSettings
    weights: dict[str, Any]
    """Name, path and sha256 of the weights file."""
    device: str
    machine: dict[str, Any]
    versions: dict[str, str]
    started: str
    """Date and time in UTC."""
    command: list[str] | None = None
    """The command line, as `command_line` returns it."""
    classes: list[dict[str, str]] = field(default_factory=list)
    """Name of each class id in the masks, and its color in the overlay as #rrggbb; none in colorization."""
    depends_on: dict[str, Any] = field(default_factory=dict)
    """What else the files depend on (run/subject.py): versions, and checksums of input, labels and weights."""
    resumed_at: list[int] = field(default_factory=list)
    """After how many frames the run went on each time that it had been cut off."""
    status: str = "running"
    """State: "running", "done", "partial" (the input broke off, or files were deleted), "interrupted" or "failed"."""
    reason: str | None = None
    """Why the run is partial, interrupted or failed."""
    frames: int = 0
    skipped_steps: int = 0
    """Training steps whose loss or gradient was not finite."""
    first_loss: float | None = None
    """Mean over the first ten frames, or over the first half of a shorter run."""
    last_loss: float | None = None
    """Mean over the last ten frames, or over the second half of a shorter run."""
    audio_note: str | None = None
    """Why the input's sound could not be kept, if it was not."""
    cuts: list[int] = field(default_factory=list)
    """Index of each frame that begins a new scene, if cuts reset the window."""
    gray_frames: int = 0
    """In colorization: frames left gray, such as title cards."""
    clamped_frames: int = 0
    """With the method `auto`: frames predicted with clamped features."""
    adapted: dict[str, int] = field(default_factory=dict)
    """How many frames were adapted to, by why: "scene", "change" or "interval"."""
    strangeness: float | None = None
    """How unlike all that the weights know the frames are in content (adaptation/strangeness.py), the mean over those
    that were asked; None if that is not known."""
    times_prediction: float | None = None
    """Time of all steps and predictions, over that of as many predictions of frames that were not adapted to."""
    warnings: list[str] = field(default_factory=list)
    """What the user should know about the input, about the run, and about a choice that was made."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage, and of the whole run ("total"). Stages overlap, so they may add up to more than the total."""
    peak_memory_mib: float | None = None
    """The most memory that the run held, in MiB: on CUDA that of the device, else of the process; None if unknown."""
    video_file: str | None = None
    """Where the overlay is as well, if the user named a video."""
    files: list[str] = field(default_factory=list)
    """What was written, relative to the run's folder; until the end, all that the run may write."""

    def as_json(self) -> dict[str, Any]:
        """The report as nested dicts."""
        return {OWNER: "run", **dataclasses.asdict(self), "settings": settings_record(self.settings)}


def new_report(video: Video, weights: Weights, settings: RunSettings, device: torch.device) -> Report:
    """The report of a run that is about to begin."""
    return Report(
        input=video.source,
        video={"frames_per_second": float(video.fps), "height": video.size[0], "width": video.size[1]},
        reader=video.reader,
        settings=settings,
        weights=weights.identity(),
        device=str(device),
        machine=machine(device),
        versions=versions(),
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=command_line(),
        classes=[
            {"name": kind.name, "color": "#" + bytes(kind.color).hex()}
            for kind in PALETTES[settings.output.palette](weights.classes)
        ],
    )


def command_line() -> list[str] | None:
    """The words that the program was called by, without passwords in addresses; None in another program than tttv."""
    program, *words = sys.argv
    if Path(program).stem not in ("tttv", "__main__"):
        return None
    return ["tttv", *(re.sub(r"(://)[^/@]*@|\?.*", r"\1", word) if "://" in word else word for word in words)]


def machine(device: torch.device) -> dict[str, Any]:
    """The machine that the run was made on."""
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def versions() -> dict[str, str]:
    """Versions of tttv, Python and the packages that compute the result."""
    packages = ("torch", "transformers", "timm", "numpy", "imageio-ffmpeg")
    return {
        "tttv": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


class RunTotals(Resumable):
    """Totals over the frames of a run: losses, cuts, and milliseconds of each stage up to the prediction."""

    varying = (
        *("frames", "skipped_steps", "milliseconds", "cuts", "gray_frames", "clamped_frames", "adapted"),
        *("out_of_memory", "has_colors", "_model_milliseconds", "_predictions_alone", "_milliseconds_alone"),
        *("_first_losses", "_last_losses", "_strangeness", "_frames_asked"),
    )

    def __init__(self) -> None:
        self.frames = self.skipped_steps = 0
        self.milliseconds: Counter[str] = Counter()
        self.cuts: list[int] = []
        self.gray_frames = self.clamped_frames = 0
        self.adapted: Counter[str] = Counter()
        self._strangeness = 0.0
        self._frames_asked = 0
        self._model_milliseconds = 0.0
        self._predictions_alone = 0
        self._milliseconds_alone = 0.0
        self.out_of_memory: list[str] = []
        self.has_colors = False
        self._first_losses: list[float] = []
        self._last_losses: deque[float] = deque(maxlen=LOSSES_AVERAGED)

    def update(self, step: Step) -> None:
        """Counts one frame."""
        result = step.result
        self.frames += 1
        self.skipped_steps += result.skipped_steps
        self.milliseconds.update(step.milliseconds)
        self.clamped_frames += result.dead_zone is not None
        if step.strangeness is not None:
            self._strangeness += step.strangeness.content
            self._frames_asked += 1
        self._time(result)
        if result.out_of_memory is not None:
            self.out_of_memory.append(result.out_of_memory)
        if result.cut:
            self.cuts.append(result.frame.index)
        chroma = step.labels.chroma()
        if chroma is not None:
            self.gray_frames += not chroma.ab.any()
            self.has_colors = self.has_colors or is_colored(step.frame.image[:, ::PIXEL_STRIDE, ::PIXEL_STRIDE])
        if result.loss is not None:
            self._last_losses.append(result.loss)
            if len(self._first_losses) < LOSSES_AVERAGED:
                self._first_losses.append(result.loss)

    @property
    def strangeness(self) -> float | None:
        """As in Report."""
        return round(self._strangeness / self._frames_asked, 4) if self._frames_asked else None

    def _time(self, result: Result) -> None:
        timing = result.timing
        self._model_milliseconds += timing.adapt_milliseconds + timing.predict_milliseconds
        if result.adapted:
            self.adapted[result.adapted] += 1
        else:
            self._predictions_alone += 1
            self._milliseconds_alone += timing.predict_milliseconds

    def write_to(self, report: Report) -> None:
        """Enters the totals in the report; `frames` is for Outputs to say, which knows what is written."""
        report.skipped_steps = self.skipped_steps
        report.cuts, report.gray_frames = self.cuts, self.gray_frames
        report.clamped_frames = self.clamped_frames
        report.adapted = dict(self.adapted)
        report.strangeness = self.strangeness
        if self._milliseconds_alone:
            of_one = self._milliseconds_alone / self._predictions_alone
            report.times_prediction = round(self._model_milliseconds / (of_one * self.frames), 3)
        if self._last_losses:
            # In a short run the two means share no frame; in a run of one frame they are the same.
            count = min(LOSSES_AVERAGED, max(1, self.frames // 2))
            report.first_loss = statistics.fmean(self._first_losses[:count])
            report.last_loss = statistics.fmean(list(self._last_losses)[-count:])


class RunScores(Resumable):
    """Scores predictions against ground truth, for metrics.json."""

    varying = ("metrics", "scored_frames", "without_label")

    def __init__(
        self,
        truth: Callable[[str], Labels | None],
        task: Task,
        method: str,
        unlabeled: frozenset[int] = frozenset(),
    ) -> None:
        """truth: returns the labels of the frame with a given name, or None. unlabeled: see Metric."""
        self.truth, self.task, self.method, self.unlabeled = truth, task, method, unlabeled
        self.metrics: dict[str, Metric] = {}
        self.scored_frames: list[int] = []
        self.without_label = 0

    def update(self, step: Step) -> None:
        """Scores one frame if it has a label. Raises TttvError if the label does not fit the frame."""
        truth = self.task.truth_of(step.frame, self.truth)
        if truth is None:
            self.without_label += 1
            return
        self.scored_frames.append(step.frame.index)
        for method, labels in ((self.method, step.labels), ("joint", step.fixed_labels)):
            if labels is not None:
                metric = self.metrics.setdefault(method, self.task.new_metric())
                metric.unlabeled = self.unlabeled
                metric.update(labels, truth)

    def as_json(self) -> dict[str, Any]:
        """Scores for the method and, if it runs beside, for the fixed model; see Scores in metrics/base.py.

        "scored_frames" are the indices of the frames that "frame_scores" of each method belong to.
        """
        empty = self.task.new_metric()
        scale = 100 if empty.unit == "percent" else 1
        return {
            "score": empty.title,
            "unit": empty.unit,
            "frames_without_label": self.without_label,
            "scored_frames": self.scored_frames,
            "methods": {
                method: {
                    **dataclasses.asdict(metric.compute()),
                    "frames_scored": len(metric.frame_scores),
                    "frame_scores": [round(scale * score, 3) for score in metric.frame_scores],
                }
                for method, metric in self.metrics.items()
            },
        }
