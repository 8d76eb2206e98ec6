"""Reads frames from a video file, a folder of images or a glob of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ttt_cli.core.errors import PartialInput, TttvError, UsageError, printable
from ttt_cli.core.frame import Frame, Video
from ttt_cli.video import images
from ttt_cli.video.decoder import BrokeOff, decode
from ttt_cli.video.probe import Probe, probe

FOLDER_RATE = Fraction(10)
"""Frames a second of a folder of images, which has no rate of its own."""


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
    breaks off: at an image that cannot be read, or where a video file does, see decoder.py.
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
        raise TttvError(f"{printable(path)}: cannot be read ({error.strerror}); check its permissions") from error


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
        frames=lambda: _walk(path, _decoded(path, found), cut),
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
    except (BrokeOff, images.Unreadable) as error:
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


def _decoded(path: Path, found: Probe) -> Generator[_Candidate, None, None]:
    with closing(decode(path, found)) as frames:
        for index, (seconds, image) in enumerate(frames):
            yield _Candidate(index, f"{index:06d}", seconds, partial(_same, image))


def _same(image: np.ndarray) -> np.ndarray:
    return image
