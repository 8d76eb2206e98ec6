"""The settings of what goes into a run and what comes out of it. Torch is not needed to read them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ttt_cli.core.errors import UsageError

SMALLEST_SIZE = 32


@dataclass(frozen=True)
class InputSettings:
    """Which frames are taken, and how large the model sees them.

    start, end: only frames with start <= seconds < end. stride: of these, every stride-th. max_frames: at most so many.
    fps: frames a second of a folder of pictures; a video file has its own.
    size: shortest side, in pixels, of what the model sees. Frames are only ever scaled down; the default is what the
        weights `street` were trained on.
    """

    start: float | None = None
    end: float | None = None
    stride: int = 1
    max_frames: int | None = None
    fps: float | None = None
    size: int = 360

    def __post_init__(self) -> None:
        if self.size < SMALLEST_SIZE:
            raise UsageError(f"size must be at least {SMALLEST_SIZE}, not {self.size}")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise UsageError(f"fps must be above 0, not {self.fps}")


@dataclass(frozen=True)
class OutputSettings:
    """What is written.

    overlay: the video with the prediction drawn in. compare: the fixed model's beside it.
    alpha: opacity of the colors in it, 0..1. labels: names are written in it.
    masks: the prediction of every frame, as files. formats: in which formats (FORMATS in label_files.py); empty means
        those that fit the task.
    saturation: colors that were predicted are multiplied by it.
    classes: only these are drawn and written; empty means all.
    """

    overlay: bool = True
    compare: bool = False
    alpha: float = 0.55
    labels: bool = True
    masks: bool = True
    formats: tuple[str, ...] = ()
    saturation: float = 1.0
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha must be within 0 and 1, not {self.alpha}")
        if not 0 <= self.saturation < math.inf:
            raise UsageError(f"saturation must not be negative: {self.saturation}")
