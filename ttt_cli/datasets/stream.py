"""A labeled video for `tttv eval`, and the functions that data sets use to open one."""

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
from ttt_cli.video.opening import open_input
from ttt_cli.video.settings import InputSettings


@dataclass(frozen=True)
class Stream:
    """A labeled video."""

    name: str
    classes: tuple[Class, ...]
    video: Video
    """Only the frames; a model gets nothing else."""
    truth: Callable[[str], Labels | None]
    """The label of a frame, by frame name; None if it has no label or is not scored. Only scoring calls this."""
    warnings: tuple[str, ...] = ()
    """What was left out of the annotations, one line with a count each. The first stream has those of the data set."""
    label_files: tuple[Path, ...] = ()
    """What `truth` reads: files, and folders of files."""
    unlabeled: frozenset[int] = frozenset()
    """The classes that the labels do not tell from others: they have no score."""


@dataclass(frozen=True)
class StreamRequest:
    """Which streams of a data set to open, and how."""

    truth: Path
    """Folder or file of the labels."""
    images: Path | None
    """Where the frames are; None for their place in the data set's layout."""
    wanted: InputSettings
    """Which frames to use."""
    task: str
    """A name in TASKS."""
    every: int | None = None
    """Score only the frames 0, every, 2 every ... of each video; None for the data set's default."""
    split: str | None = None
    """A part of the data set; None for its default."""


@dataclass(frozen=True)
class Dataset:
    """A line of the table of data sets."""

    open: Callable[[StreamRequest], list[Stream]]
    """The streams of a request, with every frame scored."""
    tasks: tuple[str, ...]
    """The tasks that it has labels for."""
    every: int = 1
    """Default of StreamRequest.every."""
    splits: tuple[str, ...] = ()
    """Its parts, if any."""


def labels_for(task: str, regions: PanopticMap, classes: tuple[Class, ...]) -> Labels:
    """The labels in a panoptic map for the task semantic, instance or panoptic."""
    if task == "semantic":
        return ClassMap(regions.class_map())
    return regions.instances(things_of(classes)) if task == "instance" else regions


def open_frames(request: StreamRequest, name: str, layout: Path, only_video: bool) -> Video:
    """The video `name`, from the folder `layout` of the data set or, if it is given, from request.images.

    There the frames are in the folder `name` or, for the request's `only_video`, directly in request.images. Raises
    what `open_input` does.
    """
    source = layout
    if request.images is not None:
        source = request.images / name
        if only_video and not source.exists():
            source = request.images
    return dataclasses.replace(open_input(source, request.wanted), name=name)


def frame_numbers_of(video: Video) -> Callable[[str], int | None]:
    """A function from a frame's name to its number in the input, from 0; None if no frame has the name.

    Nothing is decoded. The length of a video file is not known, so a number may lie beyond its end.
    """
    source = video.path
    if source is not None and source.is_dir():
        return {path.stem: index for index, path in enumerate(images.in_folder(source))}.get
    if source is not None and images.is_image(source):
        return {source.stem: 0}.get
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
    """The folders just below `folder`, sorted by name. Raises TttvError if it cannot be listed."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise TttvError(f"{printable(folder)}: cannot be listed ({error.strerror}); check --gt") from error


def stream_folders(root: Path, needed: tuple[str, ...]) -> list[Path]:
    """`root` if it contains all of the folders `needed`, or else the folders just below it that do.

    Raises TttvError if there is no such folder.
    """
    if not root.is_dir():
        raise TttvError(f"{printable(root)}: there is no such folder; check --gt")

    def is_complete(folder: Path) -> bool:
        return all((folder / name).is_dir() for name in needed)

    folders = [root] if is_complete(root) else [folder for folder in folders_in(root) if is_complete(folder)]
    if not folders:
        names = " and ".join(f"{name}/" for name in needed)
        plural = "s" if len(needed) > 1 else ""
        raise TttvError(f"{printable(root)}: has no folder{plural} {names} in it, nor has any folder below it")
    return folders


def dropped_warnings(dropped: int, total: int, what: str, file: str) -> tuple[str, ...]:
    """The warning that `dropped` of `total` things are left out of `file`, if any; `what` says which things and why.

    Raises TttvError if all of them are dropped.
    """
    if dropped == total > 0:
        raise TttvError(f"{file}: {what}: all {total}; check --gt and --images")
    return (f"{file}: {what}: {dropped} of {total} left out",) if dropped else ()
