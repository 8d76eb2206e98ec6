"""Decodes a video file by ffmpeg in a process of its own, which hands over one raw frame at a time.

Memory does not grow with the length of the video, and a file that crashes a decoder does not crash the program.
"""

from __future__ import annotations

import logging
import queue
import re
import subprocess
import threading
from collections.abc import Generator
from pathlib import Path
from typing import IO

import numpy as np

from ttt_cli.core.errors import printable
from ttt_cli.video import ffmpeg
from ttt_cli.video.probe import Probe

logger = logging.getLogger(__name__)

TICKS = 90000
"""Units in a second that ffmpeg is asked to count time stamps in."""
NO_STAMP = -(2**62)
"""Time stamps below this are ffmpeg's way to say that there is none."""


class BrokeOff(Exception):
    """The file ended before its end. Says why."""


def decode(path: Path, found: Probe) -> Generator[tuple[float, np.ndarray], None, None]:
    """Every frame of a video file, in order of display: its seconds, and uint8 RGB (H, W, 3).

    Raises BrokeOff where the file does.
    """
    height, width = found.size
    arguments = ["-protocol_whitelist", "file", "-loglevel", "level+error", "-i", ffmpeg.file_url(path)]
    # A stream may change its size on the way; the frames that leave here do not.
    arguments += ["-an", "-sn", "-dn", "-vf", f"scale={width}:{height}", "-fps_mode", "passthrough"]
    # Every frame's time stamp comes on the pipe of the messages, in one write, before the frame does.
    arguments += ["-enc_time_base", f"1:{TICKS}", "-stats_enc_pre", "pipe:2", "-stats_enc_pre_fmt", "<stamp {pts}>"]
    process = ffmpeg.start([*arguments, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"], stdout=subprocess.PIPE)
    messages = _Messages(process)
    clock = _Clock(1 / float(found.fps))
    try:
        while (image := _read_image(process, height, width)) is not None:
            yield clock.tick(messages.next_stamp()), image
        code = process.wait()
        messages.thread.join()
        _check_end(found, code, clock.end, messages.errors)
        for error in messages.errors:
            logger.warning("%s: ffmpeg met an error and read on: %s", printable(path), error)
    finally:
        process.kill()
        process.wait()
        messages.thread.join()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _read_image(process: subprocess.Popen[bytes], height: int, width: int) -> np.ndarray | None:
    """The next raw frame, uint8 RGB (H, W, 3), or None at the end."""
    assert process.stdout is not None
    image = np.empty((height, width, 3), np.uint8)
    complete = process.stdout.readinto(image.data.cast("B")) == image.nbytes  # type: ignore[attr-defined]
    return image if complete else None


def _check_end(found: Probe, code: int, end: float, errors: list[str]) -> None:
    """Raises BrokeOff where ffmpeg got less out of a file than there should be.

    That is so when it failed, and when it met errors and the frames end short of the length that the container states.
    Neither of the two is enough: a picture may end before the sound does, or a stated length be too high, without any
    damage, and a damaged frame in the middle is repaired by the decoder. Formats that state no length (transport
    streams, AVI without its index) cannot be told from shorter ones when they are cut.
    """
    if code != 0:
        raise BrokeOff(errors[0] if errors else f"ffmpeg ended with code {code}")
    tolerance = max(0.25, 3 / float(found.fps))
    if errors and found.seconds is not None and end < found.seconds - tolerance:
        raise BrokeOff(f"{max(end, 0):.2f} s of {found.seconds:.2f} s could be read: {errors[0]}")


class _Clock:
    """Makes time stamps of frames out of ffmpeg's: from 0 on, never going back, and guessed where there is none."""

    def __init__(self, frame_seconds: float) -> None:
        self._frame_seconds = frame_seconds
        self._first: float | None = None
        self._next = 0.0
        self.end = 0.0
        """When the last frame ends on ffmpeg's own scale, whose 0 is the start of the earliest stream."""

    def tick(self, stamp: float | None) -> float:
        """The seconds of the next frame, which ffmpeg says is shown at `stamp`."""
        if self._first is None:
            self._first = stamp
        seconds = self._next if stamp is None or self._first is None else stamp - self._first
        seconds = max(seconds, self._next - self._frame_seconds, 0.0)
        self._next = seconds + self._frame_seconds
        self.end = self._next + (self._first or 0.0)
        return seconds


class _Messages:
    """Reads what ffmpeg says, in a thread: the time stamp of every frame, and the first errors."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self.errors: list[str] = []
        self._stamps: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._read, args=(process.stderr,), name="ffmpeg messages", daemon=True)
        self.thread.start()

    def next_stamp(self) -> float | None:
        """The time stamp of the next frame in seconds, or None where it has none."""
        try:
            return self._stamps.get(timeout=10)
        except queue.Empty:
            return None

    def _read(self, pipe: IO[bytes]) -> None:
        for raw in pipe:
            line = raw.decode("utf-8", "replace")
            for stamp in re.findall(r"<stamp (-?\d+)>", line):
                self._stamps.put(int(stamp) / TICKS if int(stamp) > NO_STAMP else None)
            if ("[error]" in line or "[fatal]" in line) and len(self.errors) < 3:
                self.errors.append(printable(ffmpeg.reason(line)))
