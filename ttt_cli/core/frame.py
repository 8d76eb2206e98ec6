"""Frozen records: what flows through the program, one way, from the reader to the writers."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ttt_cli.core.labels import Labels


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    index: position in the input, counted from 0 before any `--stride` or `--start`.
    name: what output files of this frame are called: six-digit index for a video file, the file's stem for a folder.
    seconds: time stamp, counted from the first frame of the input.
    image: uint8 RGB, (3, H, W), 0..255. original: the same as it came from the input, where `image` is a smaller copy
        for the model; else None. clean: what it was before it was degraded on purpose, for scoring; else None.
    """

    index: int
    name: str
    seconds: float
    image: Tensor
    original: Tensor | None = None
    clean: Tensor | None = None

    def whole(self) -> Frame:
        """The frame as it came from the input."""
        return self if self.original is None else dataclasses.replace(self, image=self.original, original=None)


@dataclass(frozen=True)
class Video:
    """A source of frames that can be walked any number of times.

    name: a short title (the stem of the file or the folder's name).
    path: the file or folder on disk; the audio is taken from it when it is a video file that has some.
    fps: frames a second of what `frames` yields (a stride divides it).
    size: (height, width) in pixels of every frame, after rotation.
    length: how many frames are expected; an estimate (containers lie), or None where nothing tells.
    frames: opens the source and yields its frames in order.
    """

    name: str
    path: Path
    fps: Fraction
    size: tuple[int, int]
    length: int | None
    frames: Callable[[], Iterator[Frame]]


@dataclass(frozen=True)
class Timing:
    """Milliseconds that the model spent on one frame: training on it, and predicting it."""

    adapt_milliseconds: float
    predict_milliseconds: float


@dataclass(frozen=True)
class WindowEstimate:
    """What decides how many frames to train on, see auto_window.py.

    drift: b^2 e^2. variance: s^2. window: k in frames. The first two in the gradient's units, squared.
    """

    drift: float
    variance: float
    window: int


class Prediction(ABC):
    """What the main head says of one frame, at the size that the model saw; each task has its own, see tasks/."""

    @abstractmethod
    def present(self) -> frozenset[int]:
        """The classes that occur in it."""

    def averaged(self, past: Sequence[Prediction]) -> Prediction:
        """The mean of past predictions, this one among them. Raises TypeError for a task that has no such thing."""
        raise TypeError(f"{type(self).__name__} cannot be averaged")

    @abstractmethod
    def at_size(self, size: tuple[int, int]) -> Labels:
        """The prediction at the size (height, width) of the frame, on the CPU."""


@dataclass(frozen=True)
class Result:
    """One frame, its prediction, and how the model got there.

    loss: mean reconstruction loss of this frame's training steps, or None where the method does not train.
    skipped_steps: training steps whose loss or gradient was not finite; the weights were put back before going on.
    window_estimate: where the window's size was estimated on this frame.
    cut: a new scene begins with this frame, and the window was emptied.
    """

    frame: Frame
    prediction: Prediction
    loss: float | None
    skipped_steps: int
    timing: Timing
    window_estimate: WindowEstimate | None = None
    cut: bool = False
