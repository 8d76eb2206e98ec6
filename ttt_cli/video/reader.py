"""Opens a video file, a folder of images or a glob of images."""

from __future__ import annotations

from collections.abc import Generator
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.frame import Reading, Video
from ttt_cli.video import images
from ttt_cli.video.selection import Candidate, Selection, check_start, selection, walk
from ttt_cli.video.settings import Reader
from ttt_cli.video.video_file import open_file

FOLDER_RATE = Fraction(10)
"""Frames a second of a folder of images, which has no rate of its own."""


def open_video(
    source: str | Path,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    stride: int = 1,
    max_frames: int | None = None,
    fps: Fraction | None = None,
    reader: Reader = "ffmpeg",
    hwaccel: str | None = None,
) -> Video:
    """Opens a video file, a folder of images (natural order) or a glob of images, without reading all of it.

    start_seconds, end_seconds: only frames with start <= seconds < end, counted from the first frame of the input.
    stride: of these, every stride-th. max_frames: of these, at most this many.
    fps: frames a second of a folder or glob; the default is 10.
    reader, hwaccel: how a video file is decoded, as in InputSettings; neither says anything of pictures.

    Raises UsageError for values that make no sense and TttvError for a source without frames. Iterating over the frames
    raises TttvError if there is none, and PartialInput after the last good frame if an image cannot be read or a
    video file breaks off (see video/decoder.py).
    """
    wanted = selection(start_seconds, end_seconds, stride, max_frames)
    if fps is not None and fps <= 0:
        raise UsageError(f"fps must be more than 0, not {fps}")
    path = Path(source).absolute()
    try:
        if path.is_dir():
            return _open_images(path, images.in_folder(path), wanted, fps)
        if path.is_file() and images.is_image(path):
            return _open_images(path, [path], wanted, fps)
        if not path.exists() and any(character in str(source) for character in "*?["):
            return _open_images(path, images.in_glob(str(path)), wanted, fps)
        _check_file(path)
        if fps is not None:
            raise UsageError(f"{printable(path)}: fps is for folders of images; a video file has its own")
        return open_file(path, wanted, reader, hwaccel)
    except OSError as error:
        raise TttvError(f"{printable(path)}: cannot be read ({error.strerror}); check its permissions") from error


def _check_file(path: Path) -> None:
    if "\0" in str(path) or not path.exists():
        raise TttvError(f"{printable(path)}: there is no such file or folder; check the path")
    if not path.is_file():
        raise TttvError(f"{printable(path)}: is neither a file nor a folder; save the video as a file first")
    with path.open("rb") as file:  # Raises OSError if it may not be read.
        if not file.read(1):
            raise TttvError(f"{printable(path)}: is empty; get a complete copy of the file")


def _open_images(path: Path, files: list[Path], wanted: Selection, fps: Fraction | None) -> Video:
    fps = fps or FOLDER_RATE
    height, width, _ = images.read(files[0]).shape
    check_start(path, wanted, len(files) / float(fps))
    # A glob is named after the folder that its pictures are in.
    name = path.stem if path.is_file() else path.name if path.is_dir() else files[0].parent.name
    return Video(
        name=name,
        path=path if path.exists() else files[0].parent,
        fps=fps / wanted.stride,
        size=(height, width),
        length=wanted.length(len(files), fps),
        frames=Reading(lambda skipped: walk(path, _images(files, fps, (height, width)), wanted, skipped)),
        reader="pillow",
    )


def _images(files: list[Path], fps: Fraction, size: tuple[int, int]) -> Generator[Candidate, None, None]:
    for index, file in enumerate(files):
        yield Candidate(index, file.stem, float(index / fps), partial(_load, file, size))


def _load(file: Path, size: tuple[int, int]) -> np.ndarray:
    image = images.read(file)
    height, width, _ = image.shape
    if (height, width) != size:
        raise TttvError(
            f"{printable(file)}: is {width}x{height}, but the first frame is {size[1]}x{size[0]}; make all one size"
        )
    return image
