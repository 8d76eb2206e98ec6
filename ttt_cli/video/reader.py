"""Reads frames from a video file, a folder of images or a glob of images."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ttt_cli.core.errors import PartialInput, TttvError, UsageError, printable
from ttt_cli.core.frame import Frame, Reading, Video
from ttt_cli.video import images
from ttt_cli.video.decoder import BrokeOff, DecodedFrame, SkippedWrongly, Skips, decode
from ttt_cli.video.index import find
from ttt_cli.video.messages import TICKS
from ttt_cli.video.probe import Probe, probe

logger = logging.getLogger(__name__)

FOLDER_RATE = Fraction(10)
"""Frames a second of a folder of images, which has no rate of its own."""
ROUNDING = 1e-6
"""A frame that is so many seconds too early is early enough."""


@dataclass(frozen=True)
class _Selection:
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
class _Candidate:
    """A frame that may be selected."""

    index: int
    """Position in the input, from 0."""
    name: str
    """What output files for this frame are called, without their suffix."""
    seconds: float
    """Time stamp, counted from the first frame."""
    image: Callable[[], np.ndarray]
    """Loads the pixels, uint8 RGB (H, W, 3)."""


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
    stride: of these, every stride-th. max_frames: of these, at most this many.
    fps: frames a second of a folder or glob; the default is 10.

    Raises UsageError for values that make no sense and TttvError for a source without frames. Iterating over the frames
    raises TttvError if there is none, and PartialInput after the last good frame if an image cannot be read or a
    video file breaks off (see video/decoder.py).
    """
    selection = _selection(start_seconds, end_seconds, stride, max_frames)
    if fps is not None and fps <= 0:
        raise UsageError(f"fps must be more than 0, not {fps}")
    path = Path(source).absolute()
    try:
        if path.is_dir():
            return _open_images(path, images.in_folder(path), selection, fps)
        if path.is_file() and images.is_image(path):
            return _open_images(path, [path], selection, fps)
        if not path.exists() and any(character in str(source) for character in "*?["):
            return _open_images(path, images.in_glob(str(path)), selection, fps)
        _check_file(path)
        if fps is not None:
            raise UsageError(f"{printable(path)}: fps is for folders of images; a video file has its own")
        return _open_file(path, selection)
    except OSError as error:
        raise TttvError(f"{printable(path)}: cannot be read ({error.strerror}); check its permissions") from error


def _selection(start: float | None, end: float | None, stride: int, max_frames: int | None) -> _Selection:
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
    return _Selection(start, end, stride, max_frames)


def _check_file(path: Path) -> None:
    if "\0" in str(path) or not path.exists():
        raise TttvError(f"{printable(path)}: there is no such file or folder; check the path")
    if not path.is_file():
        raise TttvError(f"{printable(path)}: is neither a file nor a folder; save the video as a file first")
    with path.open("rb") as file:  # Raises OSError if it may not be read.
        if not file.read(1):
            raise TttvError(f"{printable(path)}: is empty; get a complete copy of the file")


def _open_images(path: Path, files: list[Path], selection: _Selection, fps: Fraction | None) -> Video:
    fps = fps or FOLDER_RATE
    height, width, _ = images.read(files[0]).shape
    _check_start(path, selection, len(files) / float(fps))
    # A glob is named after the folder that its pictures are in.
    name = path.stem if path.is_file() else path.name if path.is_dir() else files[0].parent.name
    return Video(
        name=name,
        path=path if path.exists() else files[0].parent,
        fps=fps / selection.stride,
        size=(height, width),
        length=selection.length(len(files), fps),
        frames=Reading(lambda skipped: _walk(path, _images(files, fps, (height, width)), selection, skipped)),
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


def _open_file(path: Path, selection: _Selection) -> Video:
    probed = probe(path)
    if probed.seconds is not None:
        _check_start(path, selection, probed.seconds)
    frames = None if probed.seconds is None else max(1, round(probed.seconds * probed.fps))
    return Video(
        name=path.stem,
        path=path,
        fps=probed.fps / selection.stride,
        size=probed.size,
        length=None if frames is None else selection.length(frames, probed.fps),
        frames=Reading(lambda skipped: _read_file(path, probed, selection, skipped)),
    )


def _check_start(path: Path, selection: _Selection, seconds: float) -> None:
    if selection.start > seconds:
        raise TttvError(
            f"{printable(path)}: ends at {seconds:.2f} s, before the start at {selection.start} s; start earlier"
        )


def _walk(
    path: Path,
    candidates: Generator[_Candidate, None, None],
    selection: _Selection,
    skipped: int,
    first: int | None = None,
) -> Iterator[Frame]:
    """Yields the selected frames of `candidates` without the first `skipped`, with their pixels.

    first: the index of the first frame from the start on, if the candidates begin after it.
    """
    read = 0
    try:
        for candidate in candidates:
            if candidate.seconds < selection.start - ROUNDING:
                continue
            first = candidate.index if first is None else first
            earlier, between = divmod(candidate.index - first, selection.stride)
            if candidate.seconds >= selection.end - ROUNDING or earlier + bool(between) == selection.max_frames:
                break
            if between == 0:
                if earlier >= skipped:
                    image = torch.from_numpy(candidate.image()).permute(2, 0, 1).contiguous()
                    yield Frame(candidate.index, candidate.name, candidate.seconds, image)
                read = earlier + 1
    except (BrokeOff, images.Unreadable) as error:
        raise _broken(path, read, error) from error
    finally:
        candidates.close()
    if not read:
        raise TttvError(f"{printable(path)}: has no frame from {selection.start} s on; start earlier")


def _broken(path: Path, read: int, error: Exception) -> TttvError:
    if isinstance(error, images.Unreadable):
        return error if not read else PartialInput(f"{error}; the {read} frames before it were read", read, str(error))
    if not read:
        return TttvError(f"{printable(path)}: no frame could be read ({error}); get a complete copy of the file")
    message = f"{printable(path)}: broke off after {read} frames ({error}); get a complete copy of the file"
    return PartialInput(message, read, str(error))


def _read_file(path: Path, probed: Probe, selection: _Selection, skipped: int) -> Iterator[Frame]:
    """The selected frames of a video file without the first `skipped`. Where that is exact, it decodes less."""
    left_out = skipped * selection.stride
    if probed.first_tick is None or not (selection.start or left_out):
        return _walk(path, _File(path, probed, Skips(stride=selection.stride)).candidates(), selection, skipped)
    start_tick = selection.from_tick(probed.first_tick)
    found = find(path, probed, start_tick, left_out)
    if found is None:
        skips = Skips(start_tick if selection.start else None, left_out, selection.stride)
        return _walk(path, _File(path, probed, skips).candidates(), selection, skipped)
    skips = Skips(found.tick, 0, selection.stride, found.entry)
    return _walk(path, _File(path, probed, skips).candidates(), selection, skipped, found.first)


class _File:
    """The frames of a video file. If ffmpeg left out the wrong ones, it is asked for all of them."""

    def __init__(self, path: Path, probed: Probe, skips: Skips) -> None:
        self._path, self._probed = path, probed
        self._frames = decode(path, probed, skips)
        self._next = 0

    def candidates(self) -> Generator[_Candidate, None, None]:
        """Each frame, some without pixels. Raises BrokeOff if the file is cut off or damaged."""
        try:
            while (frame := self._next_frame()) is not None:
                self._next = frame.index + 1
                yield _Candidate(frame.index, f"{frame.index:06d}", frame.seconds, partial(self._image, frame))
        finally:
            self._frames.close()

    def _next_frame(self) -> DecodedFrame | None:
        try:
            return next(self._frames, None)
        except SkippedWrongly:
            self._read_all(self._next)
            return next(self._frames, None)

    def _image(self, frame: DecodedFrame) -> np.ndarray:
        try:
            return frame.image()
        except SkippedWrongly:
            self._read_all(frame.index)
            return next(self._frames).image()

    def _read_all(self, first: int) -> None:
        """Begins again to decode, and goes to the frame of this index."""
        logger.info("%s: is read from its beginning", printable(self._path))
        self._frames.close()
        self._frames = decode(self._path, self._probed)
        for _ in range(first):
            next(self._frames)
