"""The settings of what goes into a run and what comes out of it. Torch is not needed to read them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ttt_cli.errors import UsageError

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

    overlay: the video with the classes drawn in. compare: the fixed model's beside it.
    masks: one palette PNG a frame. classes: only these are drawn and kept in masks; empty means all.
    """

    overlay: bool = True
    compare: bool = False
    masks: bool = True
    classes: tuple[str, ...] = ()
