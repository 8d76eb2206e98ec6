"""Streams in another order, or with the classes that weights know."""

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
    """The stream with its frames in one fixed random order, which destroys temporal smoothness (paper, section 6.4).

    All frames are in memory while it is walked.
    """

    def frames() -> Iterator[Frame]:
        ordered = list(stream.video.frames())
        for index in torch.randperm(len(ordered), generator=Generator().manual_seed(0)).tolist():
            yield ordered[index]

    video: Video = dataclasses.replace(stream.video, frames=frames)
    return dataclasses.replace(stream, name=f"{stream.name} shuffled", video=video)


def fitting(streams: Sequence[Stream], classes: Sequence[Class], task: str) -> list[Stream]:
    """The streams that weights with these classes can be scored on.

    Objects may be of some of the classes only; they are found by name. Streams of objects that the weights do not know
    are left out with a warning. Raises TttvError where none is left, and where pixels are labeled with other classes.
    """
    names = [one.name for one in classes]
    kept, gone = [], []
    for stream in streams:
        asked = [one.name for one in stream.classes]
        if asked == names:
            kept.append(stream)
        elif task == "instance" and set(asked) <= set(names):
            kept.append(dataclasses.replace(stream, classes=tuple(classes), truth=_renamed(stream, names)))
        else:
            gone.append(f"{printable(stream.name)}: labeled with {_few(set(asked) - set(names) or set(asked))}")
    if not kept or (gone and task != "instance"):
        raise TttvError(f"{gone[0]}, which is not what the weights know: {_few(names)}; choose others with --weights")
    warnings = [f"{one}, which the weights do not know: left out" for one in gone]
    kept[0] = dataclasses.replace(kept[0], warnings=(*kept[0].warnings, *warnings))
    return kept


def _renamed(stream: Stream, names: Sequence[str]) -> Callable[[str], Labels | None]:
    """The stream's truth, its objects' classes as positions in `names`."""
    positions = [names.index(one.name) for one in stream.classes]

    def truth(name: str) -> Labels | None:
        labels = stream.truth(name)
        return None if labels is None else Instances.expect(labels).renamed(positions)

    return truth


def _few(names: Iterable[str]) -> str:
    listed = sorted(printable(name) for name in names)
    return ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")
