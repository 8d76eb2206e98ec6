"""Which frames of an input are read. Torch is imported when frames are, not before."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ttt_cli.core.errors import PartialInput, TttvError, UsageError, printable
from ttt_cli.core.frame import Frame
from ttt_cli.video import images
from ttt_cli.video.decoder import BrokeOff
from ttt_cli.video.messages import TICKS

ROUNDING = 1e-6
"""A frame that is so many seconds too early is early enough."""


@dataclass(frozen=True)
class Selection:
    """Which frames to read."""

    start: float
    """Seconds of the first frame, at the earliest."""
    end: float
    """Only frames before this, in seconds."""
    stride: int
    """Of these, every stride-th."""
    max_frames: int | None
    """Of these, at most this many."""

    def from_tick(self, first_tick: int) -> int:
        """The time stamp of the earliest frame that may be selected, if that of the first frame is `first_tick`."""
        tick = math.floor((self.start - ROUNDING) * TICKS) + first_tick - 1
        while tick / TICKS - first_tick / TICKS < self.start - ROUNDING:
            tick += 1
        return tick

    def length(self, frames: int, fps: Fraction) -> int:
        """How many frames are selected from `frames`, evenly spaced."""
        first = math.ceil(self.start * float(fps) - ROUNDING)
        last = frames if self.end == math.inf else min(frames, math.ceil(self.end * float(fps) - ROUNDING))
        count = max(0, math.ceil((last - first) / self.stride))
        return count if self.max_frames is None else min(count, self.max_frames)


@dataclass(frozen=True)
class Candidate:
    """A frame that may be selected."""

    index: int
    """Position in the input, from 0."""
    name: str
    """What output files for this frame are called, without their suffix."""
    seconds: float
    """Time stamp, counted from the first frame."""
    image: Callable[[], np.ndarray]
    """Loads the pixels, uint8 RGB (H, W, 3)."""


def selection(start: float | None, end: float | None, stride: int, max_frames: int | None) -> Selection:
    """The selection, with None for no limit. Raises UsageError for values that make no sense."""
    start = 0.0 if start is None else start
    end = math.inf if end is None else end
    if not 0 <= start < math.inf:
        raise UsageError(f"the start must be 0 seconds or later, not {start}")
    if not start < end:
        raise UsageError(f"the end ({end} s) must be after the start ({start} s)")
    if stride < 1:
        raise UsageError(f"the stride must be 1 or more, not {stride}")
    if max_frames is not None and max_frames < 1:
        raise UsageError(f"the number of frames must be 1 or more, not {max_frames}")
    return Selection(start, end, stride, max_frames)


def check_start(path: Path, wanted: Selection, seconds: float) -> None:
    """Raises TttvError if the input, `seconds` long, ends before the start."""
    if wanted.start > seconds:
        raise TttvError(
            f"{printable(path)}: ends at {seconds:.2f} s, before the start at {wanted.start} s; start earlier"
        )


def walk(
    source: str | Path,
    candidates: Generator[Candidate, None, None],
    wanted: Selection,
    skipped: int,
    first: int | None = None,
) -> Iterator[Frame]:
    """Yields the selected frames of `candidates` without the first `skipped`, with their pixels.

    first: the index of the first frame from the start on, if the candidates begin after it.
    """
    import torch

    read = 0
    try:
        for candidate in candidates:
            if candidate.seconds < wanted.start - ROUNDING:
                continue
            first = candidate.index if first is None else first
            earlier, between = divmod(candidate.index - first, wanted.stride)
            if candidate.seconds >= wanted.end - ROUNDING or earlier + bool(between) == wanted.max_frames:
                break
            if between == 0:
                if earlier >= skipped:
                    image = torch.from_numpy(candidate.image()).permute(2, 0, 1).contiguous()
                    yield Frame(candidate.index, candidate.name, candidate.seconds, image)
                read = earlier + 1
    except (BrokeOff, images.Unreadable) as error:
        raise _broken(source, read, error) from error
    finally:
        candidates.close()
    if not read:
        raise TttvError(f"{printable(source)}: has no frame from {wanted.start} s on; start earlier")


def _broken(source: str | Path, read: int, error: Exception) -> TttvError:
    if isinstance(error, images.Unreadable):
        return error if not read else PartialInput(f"{error}; the {read} frames before it were read", read, str(error))
    if not read:
        return TttvError(f"{printable(source)}: no frame could be read ({error}); get a complete copy of the file")
    message = f"{printable(source)}: broke off after {read} frames ({error}); get a complete copy of the file"
    return PartialInput(message, read, str(error))
