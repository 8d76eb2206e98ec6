"""run.json and metrics.json: how a run went, and everything that decided its result."""

from __future__ import annotations

import dataclasses
import os
import platform
import statistics
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import torch

from ttt_cli.core.color import is_colored
from ttt_cli.core.frame import Video
from ttt_cli.core.labels import Labels
from ttt_cli.core.version import __version__
from ttt_cli.metrics.base import Metric
from ttt_cli.model.weights import Weights, sha256
from ttt_cli.run.outputs import Step
from ttt_cli.run.settings import RunSettings, adaptation_record
from ttt_cli.tasks.base import Task

LOSSES_AVERAGED = 10
PIXEL_STRIDE = 8
"""Of rows and columns, to tell whether a frame has colors."""


@dataclass
class Report:
    """What run.json holds.

    status: "running", "done", "partial" (the input broke off), "interrupted" or "failed"; reason says why.
    seconds: of the whole run ("total") and of each stage; stages overlap, so they may add up to more than the total.
    first_loss, last_loss: means over the first and the last ten frames, or halves of a shorter run.
    audio_note: why the input's sound could not be kept, where it was not.
    cuts: the frames that a scene begins with, by index, where cuts reset the window. gray_frames: title cards and
        others that no color was given, in colorization. warnings: what the user should know of the input.
    files: what was written, relative to the run's folder.
    """

    input: str
    video: dict[str, Any]
    settings: RunSettings
    weights: dict[str, Any]
    device: str
    machine: dict[str, Any]
    versions: dict[str, str]
    started: str
    status: str = "running"
    reason: str | None = None
    frames: int = 0
    skipped_steps: int = 0
    first_loss: float | None = None
    last_loss: float | None = None
    audio_note: str | None = None
    cuts: list[int] = field(default_factory=list)
    gray_frames: int = 0
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as plain tables."""
        settings = {**dataclasses.asdict(self.settings), "adaptation": adaptation_record(self.settings.adaptation)}
        return {**dataclasses.asdict(self), "settings": settings}


def new_report(video: Video, weights: Weights, settings: RunSettings, device: torch.device) -> Report:
    """The report of a run that is about to begin."""
    return Report(
        input=str(video.path),
        video={"frames_per_second": float(video.fps), "height": video.size[0], "width": video.size[1]},
        settings=settings,
        weights={"name": weights.name, "path": str(weights.path), "sha256": sha256(weights.path)},
        device=str(device),
        machine=machine(device),
        versions=versions(),
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def machine(device: torch.device) -> dict[str, Any]:
    """What the run was carried out on."""
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def versions() -> dict[str, str]:
    """Versions of what computes the result."""
    packages = ("torch", "transformers", "timm", "numpy", "imageio-ffmpeg")
    return {
        "tttv": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


class RunTotals:
    """Totals over the frames of a run: losses and milliseconds of the stages on the model's side."""

    def __init__(self) -> None:
        self.frames = self.skipped_steps = 0
        self.milliseconds: Counter[str] = Counter()
        self.cuts: list[int] = []
        self.gray_frames = 0
        self.has_colors = False
        self._first_losses: list[float] = []
        self._last_losses: deque[float] = deque(maxlen=LOSSES_AVERAGED)

    def update(self, step: Step) -> None:
        """Counts one frame."""
        result = step.result
        self.frames += 1
        self.skipped_steps += result.skipped_steps
        self.milliseconds.update(step.milliseconds)
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

    def write_to(self, report: Report) -> None:
        """Brings the totals into the report."""
        report.frames, report.skipped_steps = self.frames, self.skipped_steps
        report.cuts, report.gray_frames = self.cuts, self.gray_frames
        if self._last_losses:
            # In a short run the two means share no frame; in a run of one frame they are the same.
            count = min(LOSSES_AVERAGED, max(1, self.frames // 2))
            report.first_loss = statistics.fmean(self._first_losses[:count])
            report.last_loss = statistics.fmean(list(self._last_losses)[-count:])


class RunScores:
    """Ground truth against predictions: metrics.json."""

    def __init__(self, truth: Callable[[str], Labels | None], task: Task, method: str) -> None:
        """truth: the labels of the frame of a name, or None."""
        self.truth, self.task, self.method = truth, task, method
        self.metrics: dict[str, Metric] = {}
        self.without_label = 0

    def update(self, step: Step) -> None:
        """Scores one frame where it has a label. Raises TttvError for a label that does not fit."""
        truth = self.task.truth_of(step.frame, self.truth)
        if truth is None:
            self.without_label += 1
            return
        for method, labels in ((self.method, step.labels), ("joint", step.fixed_labels)):
            if labels is not None:
                self.metrics.setdefault(method, self.task.new_metric()).update(labels, truth)

    def as_json(self) -> dict[str, Any]:
        """Scores in their unit, see metrics.base.Scores, for the method and, with compare, for the fixed model."""
        return {
            "score": self.task.new_metric().title,
            "unit": self.task.new_metric().unit,
            "frames_without_label": self.without_label,
            "methods": {
                method: {**dataclasses.asdict(metric.compute()), "frames_scored": len(metric.frame_scores)}
                for method, metric in self.metrics.items()
            },
        }
