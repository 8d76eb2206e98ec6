"""A labeled video as `tttv eval` takes it, and what data sets need to open one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ttt_cli.core.classes import Class, things_of
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.frame import Video
from ttt_cli.core.labels import ClassMap, Labels, PanopticMap
from ttt_cli.video import images
from ttt_cli.video.settings import InputSettings
from ttt_cli.video.transforms import open_input


@dataclass(frozen=True)
class Stream:
    """video: frames alone; this is all that a model is given.

    truth: the label of the frame of a name, or None where it has none or is not scored; only scoring asks for it.
    warnings: what was left out when the annotations were read, one counted line each. What concerns a whole data set
        is with its first stream.
    """

    name: str
    classes: tuple[Class, ...]
    video: Video
    truth: Callable[[str], Labels | None]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class StreamRequest:
    """What is asked of a data set.

    truth: the folder or file of the labels. images: where the frames are; None is where the layout has them.
    wanted: which frames are taken. task: a name in TASKS.
    every: of each video, only the frames 0, every, 2 every ... are scored; None is the data set's own default.
    split: one part of the data set; None is its default.
    """

    truth: Path
    images: Path | None
    wanted: InputSettings
    task: str
    every: int | None = None
    split: str | None = None


@dataclass(frozen=True)
class Dataset:
    """open: the streams of a request, every frame scored. tasks: those it has labels for, splits: its parts, if any.

    every: the default of StreamRequest.every.
    """

    open: Callable[[StreamRequest], list[Stream]]
    tasks: tuple[str, ...]
    every: int = 1
    splits: tuple[str, ...] = ()


def labels_for(task: str, regions: PanopticMap, classes: tuple[Class, ...]) -> Labels:
    """What a panoptic map says for the task semantic, instance or panoptic."""
    if task == "semantic":
        return ClassMap(regions.class_map())
    return regions.instances(things_of(classes)) if task == "instance" else regions


def open_frames(request: StreamRequest, name: str, layout: Path, alone: bool) -> Video:
    """The video `name`, whose frames the data set's layout has in `layout`.

    request.images takes the place of it: the folder of the video's name in there or, where the video is `alone` in the
    request, request.images itself. Raises what `open_input` does.
    """
    source = layout
    if request.images is not None:
        own = request.images / name
        source = request.images if alone and not own.exists() else own
    return dataclasses.replace(open_input(source, request.wanted), name=name)


def frame_numbers_of(video: Video) -> Callable[[str], int | None]:
    """Tells a frame's number in the input, from 0, by its name; None for what names no frame. Nothing is decoded.

    The length of a video file is not known before its end: it may turn out to be shorter.
    """
    if video.path.is_dir():
        return {path.stem: index for index, path in enumerate(images.in_folder(video.path))}.get
    if images.is_image(video.path):
        return {video.path.stem: 0}.get
    return lambda name: int(name) if name.isdecimal() and f"{int(name):06d}" == name else None


def scored_each(stream: Stream, every: int) -> Stream:
    """The stream with only the frames 0, every, 2 every ... of its input scored."""
    if every == 1:
        return stream
    number_of = frame_numbers_of(stream.video)

    def truth(name: str) -> Labels | None:
        number = number_of(name)
        return stream.truth(name) if number is not None and number % every == 0 else None

    return dataclasses.replace(stream, truth=truth)


def folders_in(folder: Path) -> list[Path]:
    """The folders just below `folder`, in order of name. Raises TttvError where it cannot be listed."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise TttvError(f"{printable(folder)}: cannot be listed ({error.strerror}); check --gt") from error


def stream_folders(root: Path, needed: tuple[str, ...]) -> list[Path]:
    """`root` if it has all of the folders `needed` in it, or else those folders just below it that do.

    Raises TttvError where there is none.
    """
    if not root.is_dir():
        raise TttvError(f"{printable(root)}: there is no such folder; check --gt")

    def fits(folder: Path) -> bool:
        return all((folder / name).is_dir() for name in needed)

    found = [root] if fits(root) else [folder for folder in folders_in(root) if fits(folder)]
    if not found:
        names = " and ".join(f"{name}/" for name in needed)
        plural = "s" if len(needed) > 1 else ""
        raise TttvError(f"{printable(root)}: has no folder{plural} {names} in it, nor has any folder below it")
    return found


def left_out(gone: int, total: int, what: str, shown: str) -> tuple[str, ...]:
    """The warning that `gone` of `total` things are left out, if any are; `what` says why, `shown` is the file's name.

    Raises TttvError where nothing of something would be left.
    """
    if gone == total > 0:
        raise TttvError(f"{shown}: {what}: all {total}; check --gt and --images")
    return (f"{shown}: {what}: {gone} of {total} left out",) if gone else ()
