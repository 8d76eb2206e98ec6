"""The frozen records that flow through the program, from the reader to the writers.

Importing this does not import torch.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ttt_cli.core.labels import Labels


@dataclass(frozen=True)
class Frame:
    """One picture of a video."""

    index: int
    """Position in the input, counted from 0 before any `--stride` or `--start`."""
    name: str
    """Name of this frame's output files: the six-digit index in a video file, the file's stem in a folder."""
    seconds: float
    """Time stamp, counted from the first frame of the input."""
    image: Tensor
    """uint8 RGB, (3, H, W), 0..255."""
    original: Tensor | None = None
    """The image at the size of the input, if `image` is a smaller copy for the model."""
    clean: Tensor | None = None
    """The image before it was degraded on purpose, for scoring; None if it was not."""

    def whole(self) -> Frame:
        """The frame as it came from the input."""
        return self if self.original is None else dataclasses.replace(self, image=self.original, original=None)


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Reading:
    """Reads a source of frames that need not be read from its beginning."""

    skipping: Callable[[int], Iterator[Frame]]
    """Opens the source and yields its frames in order, without the first so many."""

    def __call__(self) -> Iterator[Frame]:
        """All of them."""
        return self.skipping(0)

    def mapped(self, change: Callable[[Frame], Frame]) -> Reading:
        """The same with each frame changed."""
        return Reading(lambda skipped: map(change, self.skipping(skipped)))


@dataclass(frozen=True)
class Video:
    """A source of frames that can be read any number of times."""

    name: str
    """A short title: the file's stem or the folder's name."""
    path: Path | None
    """The file or folder on disk. If it is a video file with audio, the audio is taken from it. None of live input."""
    fps: Fraction
    """Frames a second that `frames` yields (a stride divides it)."""
    size: tuple[int, int]
    """(height, width) in pixels of every frame, after rotation."""
    length: int | None
    """How many frames are expected: an estimate, since containers may be wrong; None if unknown."""
    frames: Callable[[], Iterator[Frame]]
    """Opens the source and yields its frames in order. It is a Reading if it need not be read from its beginning."""
    reader: str = ""
    """What reads it: "ffmpeg", "decord" or "pillow"; empty if nothing does, such as for a program's own frames."""
    notes: tuple[str, ...] = ()
    """What the user should know about how it is read, a line each."""
    live: str = ""
    """What to call live input, such as the address without its password; empty if there is a path."""
    interrupt: Callable[[], None] = _nothing
    """Ends the frames of live input, even while none comes. May be called from any thread."""

    @property
    def source(self) -> str:
        """What to call the input in messages and on records."""
        return self.live if self.path is None else str(self.path)

    def frames_from(self, skipped: int) -> Iterator[Frame]:
        """Opens the source and yields its frames without the first `skipped`, which are not read if possible."""
        if isinstance(self.frames, Reading):
            return self.frames.skipping(skipped)
        return islice(self.frames(), skipped, None)

    def mapped(self, change: Callable[[Frame], Frame]) -> Video:
        """The same video with each frame changed."""
        frames = self.frames
        mapped = frames.mapped(change) if isinstance(frames, Reading) else lambda: map(change, frames())
        return dataclasses.replace(self, frames=mapped)


@dataclass(frozen=True)
class Timing:
    """How long the model took for one frame."""

    adapt_milliseconds: float
    """Training on it."""
    predict_milliseconds: float
    """Predicting it."""


@dataclass(frozen=True)
class WindowEstimate:
    """An estimate of how many frames to train on, see adaptation/auto_window.py."""

    drift: float
    """b^2 e^2, in the gradient's units squared."""
    variance: float
    """s^2, in the same units."""
    window: int
    """k, in frames."""


class Prediction(ABC):
    """What the main head predicts for one frame, at the size that the model saw. Each task has its own, see tasks/."""

    @property
    @abstractmethod
    def numbers(self) -> Sequence[Tensor]:
        """What the head said, as numbers of any shape: if any is not finite, the prediction makes no sense."""

    @abstractmethod
    def present(self) -> frozenset[int]:
        """The ids of the classes that occur in it."""

    def averaged(self, past: Sequence[Prediction]) -> Prediction:
        """The mean of past predictions, this one included. Raises TypeError if the task cannot average."""
        raise TypeError(f"{type(self).__name__} cannot be averaged")

    def mirrored(self) -> Prediction:
        """Left and right swapped. Raises TypeError if the task cannot."""
        raise TypeError(f"{type(self).__name__} cannot be mirrored")

    @abstractmethod
    def at_size(self, size: tuple[int, int]) -> Labels:
        """The prediction at the size (height, width) of the frame, on the CPU."""


@dataclass(frozen=True)
class Result:
    """One frame, its prediction, and how training on it went."""

    frame: Frame
    prediction: Prediction
    loss: float | None
    """Mean reconstruction loss of this frame's training steps; None if there were none or none was finite."""
    skipped_steps: int
    """Training steps that were undone, since a loss, a gradient or a prediction was not finite."""
    timing: Timing
    adapted: str | None = None
    """Why the model was adapted to the frame, see adaptation/pace.py; None if it was not."""
    window_estimate: WindowEstimate | None = None
    """The estimate, if the window's size was estimated on this frame."""
    cut: bool = False
    """True if a new scene begins with this frame; the window was emptied."""
    dead_zone: float | None = None
    """How far f's channels could lie from ordinary ones, in spreads, as the method `auto` chose; None for any far."""
    out_of_memory: str | None = None
    """What was done, in one line, if memory ran out on this frame (adaptation/out_of_memory.py)."""
