"""Settings of a run's input and output. Importing them does not import torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ttt_cli.core.errors import UsageError
from ttt_cli.core.pictures import Exposure
from ttt_cli.core.ranges import require_count, require_share

SMALLEST_SIZE = 32
Reader = Literal["ffmpeg", "decord"]
"""What decodes a video file."""
Layout = Literal["overlay", "compare", "panes"]
"""The prediction over the video; the fixed model's beside it; or, before these two, the video as it is."""
Palette = Literal["distinct", "official"]
"""Colors that can be told apart when the video shows through them, or those of the classes' data set."""


@dataclass(frozen=True)
class InputSettings:
    """Which frames are read, and how large the model sees them."""

    start: float | None = None
    """Only frames at this many seconds or later."""
    end: float | None = None
    """Only frames before this many seconds."""
    stride: int = 1
    """Of these, every stride-th."""
    max_frames: int | None = None
    """Of these, at most this many; None is all."""
    fps: float | None = None
    """Frames a second of a folder of pictures; a video file has its own rate."""
    size: int | None = 360
    """Shortest side of the model's input, in pixels. Frames are only scaled down. `street` was trained at this size.

    None leaves them as they are, for the image processor of a published model to resize.
    """
    exposure: Exposure = "off"
    """Whether each frame's exposure and white balance are matched to ordinary pictures (core/exposure.py)."""
    reader: Reader = "ffmpeg"
    """What decodes a video file. decord does only where it is known to agree with ffmpeg (video/by_decord.py)."""
    hwaccel: str | None = None
    """What helps ffmpeg to decode, such as `cuda`, `vaapi` or `auto`; None is the CPU alone."""
    timeout: float = 30.0
    """Live input that sends no frame for so many seconds has ended."""

    def __post_init__(self) -> None:
        if self.size is not None and self.size < SMALLEST_SIZE:
            raise UsageError(f"size must be at least {SMALLEST_SIZE}, not {self.size}")
        if not 0 < self.timeout < math.inf:
            raise UsageError(f"timeout must be above 0 seconds, not {self.timeout}")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise UsageError(f"fps must be above 0, not {self.fps}")


@dataclass(frozen=True)
class OutputSettings:
    """What is written."""

    overlay: bool = True
    """Write a video with the prediction drawn over it."""
    layout: Layout = "overlay"
    """What that video shows. Whatever has the fixed model in it runs the fixed model too."""
    palette: Palette = "distinct"
    """The colors of classes in it."""
    alpha: float = 0.45
    """Opacity of the colors, 0..1."""
    lift: bool = True
    """Brighten dark frames for the eye under the colors."""
    labels: bool = True
    """Write names in it, and put a legend below."""
    masks: bool = True
    """Write the prediction of every frame to label files."""
    formats: tuple[str, ...] = ()
    """Their formats (FORMATS in run/label_files.py); empty means the task's defaults."""
    classes: tuple[str, ...] = ()
    """Only these classes are drawn and written; empty means all."""
    checkpoint_frames: int = 50
    """Frames between points from which a run that was cut off can go on; the overlay is written in pieces as long."""

    @property
    def compares(self) -> bool:
        """Whether the fixed model runs beside the one that adapts."""
        return self.layout != "overlay"

    def __post_init__(self) -> None:
        require_share(self, "alpha")
        require_count(self, "checkpoint_frames")
