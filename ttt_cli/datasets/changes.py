"""Streams with their frames shuffled or put together from parts, or with the classes of given weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator

from ttt_cli.core.class_names import check_renames, differs, few, positions_in, unlabeled
from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.frame import Frame, Video
from ttt_cli.core.labels import Labels
from ttt_cli.datasets.degrade import Degradation, parse_degradation
from ttt_cli.datasets.stream import Stream


def shuffled(stream: Stream) -> Stream:
    """The stream with its frames in a fixed random order, which destroys temporal smoothness (paper, section 6.1).

    All frames are in memory while it is read.
    """

    def frames() -> Iterator[Frame]:
        ordered = list(stream.video.frames())
        for index in torch.randperm(len(ordered), generator=Generator().manual_seed(0)).tolist():
            yield ordered[index]

    video: Video = dataclasses.replace(stream.video, frames=frames)
    return dataclasses.replace(stream, name=f"{stream.name} shuffled", video=video)


@dataclass(frozen=True)
class Segment:
    """A part of a stream."""

    first: int
    """Its first frame, as a position in the stream, from 0."""
    last: int
    """Its last frame, itself included. Before `first`, the part runs backwards in time."""
    degrade: str = ""
    """A degradation for `parse_degradation`; empty leaves the frames as they are."""

    def positions(self) -> range:
        """The positions of its frames, in order."""
        step = 1 if self.first <= self.last else -1
        return range(self.first, self.last + step, step)


def joined(stream: Stream, segments: Sequence[Segment], every: int = 1, max_frames: int | None = None) -> Stream:
    """A stream of the segments of a stream, one after the other.

    every, max_frames: of all this, only the frames 0, every, 2 every ..., and at most so many; None is no limit.

    Frames keep their names, and so their labels, also if they are shown twice; they are numbered anew, and time goes
    on. All frames are in memory while it is read, and reading raises TttvError if the stream has fewer than the
    segments want. Raises UsageError for an unknown degradation.
    """
    source = stream.video
    plan: list[tuple[int, Degradation | None]] = []
    for segment in segments:
        degradation = parse_degradation(segment.degrade) if segment.degrade else None
        plan += [(position, degradation) for position in segment.positions()]
    shown = range(0, len(plan), every)[:max_frames]

    def frames() -> Iterator[Frame]:
        originals = list(source.frames())
        for index in shown:
            position, degradation = plan[index]
            if not 0 <= position < len(originals):
                raise TttvError(f"{printable(stream.name)}: has no frame {position}, only {len(originals)} frames")
            frame = dataclasses.replace(originals[position], index=index, seconds=float(index / source.fps))
            if degradation is not None:
                frame = dataclasses.replace(frame, image=degradation.change(frame), clean=frame.image)
            yield frame

    video = dataclasses.replace(source, fps=source.fps / every, length=len(shown), frames=frames)
    return dataclasses.replace(stream, name=f"{stream.name} joined", video=video)


def fitting(streams: Sequence[Stream], classes: Sequence[Class], task: str, renames: Mapping[str, str]) -> list[Stream]:
    """The streams that weights with these classes can be scored on, labeled with these classes.

    renames: the weights' names by those of the labels, where they differ.

    A stream may have only some of the classes, matched by name. One of objects is left out with a warning if the
    weights do not know one of them. Raises TttvError if no stream is left, or if pixels are labeled with other classes.
    """
    names = [class_.name for class_ in classes]
    check_renames(renames, (class_.name for stream in streams for class_ in stream.classes), names)
    kept, dropped = [], {}
    for stream in streams:
        try:
            positions = positions_in(names, [class_.name for class_ in stream.classes], renames)
        except KeyError as error:
            dropped[stream.name] = error.args
            continue
        if positions != list(range(len(names))):
            missing = unlabeled(names, positions)
            stream = dataclasses.replace(
                stream, classes=tuple(classes), truth=_renamed(stream, positions), unlabeled=missing
            )
        kept.append(stream)
    if not kept or (dropped and task != "instance"):
        name, unknown = next(iter(dropped.items()))
        raise TttvError(f"{printable(name)}: {differs(unknown, names)}")
    warnings = [
        f"{printable(name)}: labeled with {few(unknown)}, which the weights do not know: left out"
        for name, unknown in dropped.items()
    ]
    kept[0] = dataclasses.replace(kept[0], warnings=(*kept[0].warnings, *warnings))
    return kept


def _renamed(stream: Stream, positions: Sequence[int]) -> Callable[[str], Labels | None]:
    """The stream's truth, with class i replaced by positions[i]."""

    def truth(name: str) -> Labels | None:
        labels = stream.truth(name)
        return None if labels is None else labels.renamed(positions)

    return truth
