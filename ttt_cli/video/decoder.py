"""Decodes a video file with ffmpeg in a separate process, one raw frame at a time.

Memory does not grow with the length of the video, and a file that crashes a decoder does not crash the program.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from ttt_cli.core.errors import printable
from ttt_cli.video import ffmpeg
from ttt_cli.video.index import Entry
from ttt_cli.video.messages import TICKS, Messages, Stuck, reporting_stamps
from ttt_cli.video.probe import Probe

logger = logging.getLogger(__name__)


class BrokeOff(Exception):
    """The video file is cut off or damaged. The message says why."""


class SkippedWrongly(Exception):
    """ffmpeg left out other frames than it should have: the file must be read from its beginning, all of it."""


@dataclass(frozen=True)
class Skips:
    """Which frames ffmpeg leaves out, so that they need not be turned to RGB and handed over. They are counted."""

    from_tick: int | None = None
    """All before this time stamp."""
    leave_out: int = 0
    """Of those after it, the first so many."""
    stride: int = 1
    """Of those after these, all but every stride-th."""
    entry: Entry | None = None
    """Where to begin to decode; None is the beginning. The frames before it are not even counted."""

    def filter(self) -> str:
        """As a filter of ffmpeg, to be followed by another; empty if nothing is left out."""
        stages = [] if self.from_tick is None else [f"gte(round(pts*TB*{TICKS}),{self.from_tick})"]
        if self.leave_out or self.stride > 1:
            stages.append(f"not(mod(n,{self.stride}))*gte(n,{self.leave_out})")
        return "".join(f"select='{stage}'," for stage in stages)


@dataclass(frozen=True)
class DecodedFrame:
    """A frame of a video file, maybe without pixels."""

    index: int
    """Position in the input, from 0."""
    seconds: float
    """Time stamp, counted from the first frame."""
    image: Callable[[], np.ndarray]
    """Its pixels, uint8 RGB (H, W, 3). To be called at once, and only if the frame is not left out, then always.

    Raises SkippedWrongly.
    """


def decode(path: Path, probed: Probe, skips: Skips = Skips()) -> Generator[DecodedFrame, None, None]:
    """Yields every frame of a video file in display order, with the pixels of those that are not left out.

    Raises BrokeOff if the file is cut off or damaged, and SkippedWrongly.
    """
    height, width = probed.size
    selecting = skips.filter()
    arguments = ["-protocol_whitelist", "file", "-loglevel", "level+error"]
    if skips.entry is not None:
        arguments += ["-ss", f"{skips.entry.seconds:.6f}", "-noaccurate_seek", "-copyts", "-start_at_zero"]
    arguments += [] if probed.hwaccel is None else ["-hwaccel", probed.hwaccel]
    arguments += ["-i", ffmpeg.file_url(path)]
    output = ["-an", "-sn", "-dn", "-fps_mode", "passthrough"]
    # A stream may change its frame size midway; scaling keeps the frames all one size.
    arguments += [*output, "-vf", f"{selecting}scale={width}:{height}", *reporting_stamps("sent")]
    arguments += ["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    if selecting:
        arguments += [*output, *reporting_stamps("decoded", "pipe:02"), "-f", "null", "-"]
    process = ffmpeg.start(arguments, stdout=subprocess.PIPE)
    messages = Messages(process)
    clock = Clock(1 / float(probed.fps))

    def image_at(stamp: int | None) -> np.ndarray:
        image = read_image(process, height, width)
        if image is None or stamp is None or messages.next_sent() != stamp:
            raise SkippedWrongly
        return image

    try:
        if selecting:
            stamps = messages.decoded()
            first = 0
            if skips.entry is not None:
                stamps = _entered(stamps, skips.entry, messages)
                first = skips.entry.index
                clock.tick(probed.first_tick)
            for index, stamp in enumerate(stamps, first):
                yield DecodedFrame(index, clock.tick(stamp), partial(image_at, stamp))
        else:
            for index in count():
                image = read_image(process, height, width)
                if image is None:
                    break
                yield DecodedFrame(index, clock.tick(messages.next_sent()), partial(np.asarray, image))
        code = process.wait()
        messages.thread.join()
        _check_end(probed, code, clock.end, messages.errors)
        for error in messages.errors:
            logger.warning("%s: ffmpeg met an error and read on: %s", printable(path), error)
    except Stuck as error:
        raise SkippedWrongly from error
    finally:
        process.kill()
        process.wait()
        messages.thread.join()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _entered(stamps: Iterator[int | None], entry: Entry, messages: Messages) -> Iterator[int | None]:
    """The stamps from the entry on. Raises SkippedWrongly if they are not those that the container lists."""
    for stamp in stamps:
        if stamp == entry.ticks[0]:
            break
    else:
        raise SkippedWrongly
    messages.errors.clear()  # Before the entry pictures may refer to others that were not decoded.
    yield stamp
    for expected in entry.ticks[1:]:
        if next(stamps, None) != expected:
            raise SkippedWrongly
        yield expected
    yield from stamps


def read_image(process: subprocess.Popen[bytes], height: int, width: int) -> np.ndarray | None:
    """The next raw frame, uint8 RGB (H, W, 3), or None at the end."""
    assert process.stdout is not None
    image = np.empty((height, width, 3), np.uint8)
    complete = process.stdout.readinto(image.data.cast("B")) == image.nbytes  # type: ignore[attr-defined]
    return image if complete else None


def _check_end(probed: Probe, code: int, end: float, errors: list[str]) -> None:
    """Raises BrokeOff if ffmpeg decoded less of a file than it should contain.

    That is the case if ffmpeg failed, or if it reported errors and the frames end before the length that the container
    states. Errors are not enough: the decoder repairs a damaged frame in the middle. Nor is the length: the
    picture may end before the sound, or the stated length may be too high, without any damage. Formats that state no
    length (transport streams, AVI without its index) show no sign of being cut off.
    """
    if code != 0:
        raise BrokeOff(errors[0] if errors else f"ffmpeg ended with code {code}")
    tolerance = max(0.25, 3 / float(probed.fps))
    if errors and probed.seconds is not None and end < probed.seconds - tolerance:
        raise BrokeOff(f"{max(end, 0):.2f} s of {probed.seconds:.2f} s could be read: {errors[0]}")


class Clock:
    """Turns ffmpeg's time stamps into seconds that start at 0 and never go back; a missing stamp is guessed."""

    def __init__(self, frame_seconds: float) -> None:
        self._frame_seconds = frame_seconds
        self._first: float | None = None
        self._next = 0.0
        self.end = 0.0
        """End of the last frame in ffmpeg's time, which is 0 at the start of the earliest stream."""

    def tick(self, ticks: int | None) -> float:
        """The time of the next frame in seconds; `ticks` is the time that ffmpeg gave it."""
        stamp = None if ticks is None else ticks / TICKS
        if self._first is None:
            self._first = stamp
        seconds = self._next if stamp is None or self._first is None else stamp - self._first
        seconds = max(seconds, self._next - self._frame_seconds, 0.0)
        self._next = seconds + self._frame_seconds
        self.end = self._next + (self._first or 0.0)
        return seconds
