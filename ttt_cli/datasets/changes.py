"""Streams with their frames shuffled, or with the classes of given weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Generator

from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.frame import Frame, Video
from ttt_cli.core.labels import Instances, Labels
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


def fitting(streams: Sequence[Stream], classes: Sequence[Class], task: str) -> list[Stream]:
    """The streams that weights with these classes can be scored on.

    A stream of objects may have only some of the classes, matched by name. It is left out with a warning if the weights
    do not know one of them. Raises TttvError if no stream is left, or if pixels are labeled with other classes.
    """
    names = [class_.name for class_ in classes]
    kept, dropped = [], []
    for stream in streams:
        labeled = [class_.name for class_ in stream.classes]
        if labeled == names:
            kept.append(stream)
        elif task == "instance" and set(labeled) <= set(names):
            kept.append(dataclasses.replace(stream, classes=tuple(classes), truth=_renamed(stream, names)))
        else:
            dropped.append(f"{printable(stream.name)}: labeled with {_few(set(labeled) - set(names) or set(labeled))}")
    if not kept or (dropped and task != "instance"):
        known = f"which is not what the weights know: {_few(names)}"
        raise TttvError(f"{dropped[0]}, {known}; choose others with --weights")
    warnings = [f"{reason}, which the weights do not know: left out" for reason in dropped]
    kept[0] = dataclasses.replace(kept[0], warnings=(*kept[0].warnings, *warnings))
    return kept


def _renamed(stream: Stream, names: Sequence[str]) -> Callable[[str], Labels | None]:
    """The stream's truth, with the classes of objects as positions in `names`."""
    positions = [names.index(known.name) for known in stream.classes]

    def truth(name: str) -> Labels | None:
        labels = stream.truth(name)
        return None if labels is None else Instances.expect(labels).renamed(positions)

    return truth


def _few(names: Iterable[str]) -> str:
    listed = sorted(printable(name) for name in names)
    return ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")
