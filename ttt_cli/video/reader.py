"""Reads frames from a video file, a folder of images or a glob of them.

Video is decoded by ffmpeg in a process of its own, which hands over one raw frame at a time: memory does not grow with
the length of the video, and a file that crashes a decoder does not crash the program.
"""

from __future__ import annotations

import math
import queue
import re
import subprocess
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import torch

from ttt_cli.core.errors import PartialInput, TttvError, UsageError, printable
from ttt_cli.core.frame import Frame, Video
from ttt_cli.video import ffmpeg, images
from ttt_cli.video.probe import Probe, probe

FOLDER_RATE = Fraction(10)
"""Frames a second of a folder of images, which has no rate of its own."""
TICKS = 90000
"""Units in a second that ffmpeg is asked to count time stamps in."""
NO_STAMP = -(2**62)
"""Time stamps below this are ffmpeg's way to say that there is none."""


@dataclass(frozen=True)
class _Cut:
    """Which frames are wanted: those with start <= seconds < end, of these every stride-th, of these max_frames."""

    start: float
    end: float
    stride: int
    max_frames: int | None

    def length(self, frames: int, fps: Fraction) -> int:
        """How many of `frames`, evenly spaced, are wanted."""
        first = math.ceil(self.start * float(fps) - 1e-6)
        last = frames if self.end == math.inf else min(frames, math.ceil(self.end * float(fps) - 1e-6))
        wanted = max(0, math.ceil((last - first) / self.stride))
        return wanted if self.max_frames is None else min(wanted, self.max_frames)


@dataclass(frozen=True)
class _Candidate:
    """A frame that may be wanted; `image` makes its pixels, uint8 RGB (H, W, 3)."""

    index: int
    name: str
    seconds: float
    image: Callable[[], np.ndarray]


class _BrokeOff(Exception):
    """The source ended before its end. Says why."""


def open_video(
    source: str | Path,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    stride: int = 1,
    max_frames: int | None = None,
    fps: Fraction | None = None,
) -> Video:
    """Opens a video file, a folder of images (natural order) or a glob of images, without reading all of it.

    start_seconds, end_seconds: only frames with start <= seconds < end, counted from the first frame of the input.
    stride: of these, every stride-th. max_frames: of these, at most so many. fps: the rate of a folder or glob (10).

    Raises UsageError for values that make no sense and TttvError for a source without frames. While frames are walked,
    TttvError is raised where no frame at all came out and PartialInput, after the last good frame, where the source
    breaks off: at an image that can not be read, or where a video file does, see `_check_end`.
    """
    cut = _cut(start_seconds, end_seconds, stride, max_frames)
    if fps is not None and fps <= 0:
        raise UsageError(f"fps must be more than 0, not {fps}")
    path = Path(source).absolute()
    try:
        if path.is_dir():
            return _open_images(path, images.in_folder(path), cut, fps)
        if path.is_file() and images.is_image(path):
            return _open_images(path, [path], cut, fps)
        if not path.exists() and any(character in str(source) for character in "*?["):
            return _open_images(path, images.in_glob(str(path)), cut, fps)
        _check_file(path)
        if fps is not None:
            raise UsageError(f"{printable(path)}: fps is for folders of images; a video file has its own")
        return _open_file(path, cut)
    except OSError as error:
        raise TttvError(f"{printable(path)}: can not be read ({error.strerror}); check its permissions") from error


def _cut(start: float | None, end: float | None, stride: int, max_frames: int | None) -> _Cut:
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
    return _Cut(start, end, stride, max_frames)


def _check_file(path: Path) -> None:
    if "\0" in str(path) or not path.exists():
        raise TttvError(f"{printable(path)}: there is no such file or folder; check the path")
    if not path.is_file():
        raise TttvError(f"{printable(path)}: is neither a file nor a folder; save the video as a file first")
    with path.open("rb") as file:  # Raises OSError where it may not be read.
        if not file.read(1):
            raise TttvError(f"{printable(path)}: is empty; get a complete copy of the file")


def _open_images(path: Path, files: list[Path], cut: _Cut, fps: Fraction | None) -> Video:
    fps = fps or FOLDER_RATE
    height, width, _ = images.read(files[0]).shape
    _check_start(path, cut, len(files) / float(fps))
    # A glob is called after the folder that its pictures are in.
    name = path.stem if path.is_file() else path.name if path.is_dir() else files[0].parent.name
    return Video(
        name=name,
        path=path if path.exists() else files[0].parent,
        fps=fps / cut.stride,
        size=(height, width),
        length=cut.length(len(files), fps),
        frames=lambda: _walk(path, _images(files, fps, (height, width)), cut),
    )


def _images(files: list[Path], fps: Fraction, size: tuple[int, int]) -> Generator[_Candidate, None, None]:
    for index, file in enumerate(files):
        yield _Candidate(index, file.stem, float(index / fps), partial(_load, file, size))


def _load(file: Path, size: tuple[int, int]) -> np.ndarray:
    image = images.read(file)
    height, width, _ = image.shape
    if (height, width) != size:
        raise TttvError(
            f"{printable(file)}: is {width}x{height}, but the first frame is {size[1]}x{size[0]}; make all one size"
        )
    return image


def _open_file(path: Path, cut: _Cut) -> Video:
    found = probe(path)
    if found.seconds is not None:
        _check_start(path, cut, found.seconds)
    frames = None if found.seconds is None else max(1, round(found.seconds * found.fps))
    return Video(
        name=path.stem,
        path=path,
        fps=found.fps / cut.stride,
        size=found.size,
        length=None if frames is None else cut.length(frames, found.fps),
        frames=lambda: _walk(path, _decode(path, found), cut),
    )


def _check_start(path: Path, cut: _Cut, seconds: float) -> None:
    if cut.start > seconds:
        raise TttvError(f"{printable(path)}: ends at {seconds:.2f} s, before the start at {cut.start} s; start earlier")


def _walk(path: Path, candidates: Generator[_Candidate, None, None], cut: _Cut) -> Iterator[Frame]:
    """The frames of `candidates` that are wanted, with their pixels."""
    read = within = 0
    try:
        for candidate in candidates:
            if candidate.seconds < cut.start - 1e-6:
                continue
            if candidate.seconds >= cut.end - 1e-6 or read == cut.max_frames:
                break
            if within % cut.stride == 0:
                image = torch.from_numpy(candidate.image()).permute(2, 0, 1).contiguous()
                yield Frame(candidate.index, candidate.name, candidate.seconds, image)
                read += 1
            within += 1
    except (_BrokeOff, images.Unreadable) as error:
        raise _broken(path, read, error) from error
    finally:
        candidates.close()
    if not read:
        raise TttvError(f"{printable(path)}: has no frame from {cut.start} s on; start earlier")


def _broken(path: Path, read: int, error: Exception) -> TttvError:
    if isinstance(error, images.Unreadable):
        return error if not read else PartialInput(f"{error}; the {read} frames before it were read", read, str(error))
    if not read:
        return TttvError(f"{printable(path)}: no frame could be read ({error}); get a complete copy of the file")
    message = f"{printable(path)}: broke off after {read} frames ({error}); get a complete copy of the file"
    return PartialInput(message, read, str(error))


def _decode(path: Path, found: Probe) -> Generator[_Candidate, None, None]:
    """Every frame of a video file, in order of display. Raises _BrokeOff where the file does."""
    height, width = found.size
    arguments = ["-protocol_whitelist", "file", "-loglevel", "level+error", "-i", ffmpeg.file_url(path)]
    # A stream may change its size on the way; the frames that leave here do not.
    arguments += ["-an", "-sn", "-dn", "-vf", f"scale={width}:{height}", "-fps_mode", "passthrough"]
    # Every frame's time stamp comes on the pipe of the messages, in one write, before the frame does.
    arguments += ["-enc_time_base", f"1:{TICKS}", "-stats_enc_pre", "pipe:2", "-stats_enc_pre_fmt", "<stamp {pts}>"]
    process = ffmpeg.start([*arguments, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"], stdout=subprocess.PIPE)
    messages = _Messages(process)
    clock = _Clock(1 / float(found.fps))
    index = 0
    try:
        while (image := _read_image(process, height, width)) is not None:
            yield _Candidate(index, f"{index:06d}", clock.tick(messages.next_stamp()), partial(_same, image))
            index += 1
        code = process.wait()
        messages.thread.join()
        _check_end(found, code, clock.end, messages.errors)
    finally:
        process.kill()
        process.wait()
        messages.thread.join()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _same(image: np.ndarray) -> np.ndarray:
    return image


def _read_image(process: subprocess.Popen[bytes], height: int, width: int) -> np.ndarray | None:
    """The next raw frame, uint8 RGB (H, W, 3), or None at the end."""
    assert process.stdout is not None
    image = np.empty((height, width, 3), np.uint8)
    complete = process.stdout.readinto(image.data.cast("B")) == image.nbytes  # type: ignore[attr-defined]
    return image if complete else None


def _check_end(found: Probe, code: int, end: float, errors: list[str]) -> None:
    """Raises _BrokeOff where ffmpeg got less out of a file than there should be.

    That is so when it failed, and when it met errors and the frames end short of the length that the container states.
    Neither of the two is enough: a picture may end before the sound does, or a stated length be too high, without any
    damage, and a damaged frame in the middle is repaired by the decoder. Formats that state no length (transport
    streams, AVI without its index) can not be told from shorter ones when they are cut.
    """
    if code != 0:
        raise _BrokeOff(errors[0] if errors else f"ffmpeg ended with code {code}")
    tolerance = max(0.25, 3 / float(found.fps))
    if errors and found.seconds is not None and end < found.seconds - tolerance:
        raise _BrokeOff(f"{max(end, 0):.2f} s of {found.seconds:.2f} s could be read: {errors[0]}")


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
