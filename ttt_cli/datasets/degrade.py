"""Streams with degraded frames: in low light, as an old film, or with one of CORRUPTIONS in a severity of 1 to 5.

To add a degradation that has no severities, write a function and add a line to PLAIN.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from ttt_cli.core.choices import choices
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.frame import Frame, Video
from ttt_cli.datasets.corruptions import CORRUPTIONS, SEVERITIES
from ttt_cli.datasets.low_light import low_light
from ttt_cli.datasets.old_film import old_film
from ttt_cli.datasets.stream import Stream
from ttt_cli.video.transforms import changed

DEFAULT_SEVERITY = 3


@dataclass(frozen=True)
class Degradation:
    """A change to every frame of a stream."""

    title: str
    """Its name, with the severity if it has any: "low-light", "fog:3"."""
    change: Callable[[Frame], Tensor]
    """The degraded image, of the same size, uint8 RGB (3, H, W). The frame's index is the seed of what is random."""

    @property
    def file_name(self) -> str:
        """The title as a part of a file's name: "fog-3"."""
        return self.title.replace(":", "-")


def _in_low_light(frame: Frame) -> Tensor:
    return low_light(frame.image, frame.index)


def _on_old_film(frame: Frame) -> Tensor:
    return old_film(frame.image, frame.index)


PLAIN: dict[str, Callable[[Frame], Tensor]] = {"low-light": _in_low_light, "old-film": _on_old_film}


def parse_degradation(text: str) -> Degradation:
    """The degradation `text`: a name in PLAIN, or NAME:SEVERITY or NAME of CORRUPTIONS; NAME alone is in severity 3.

    Raises UsageError for an unknown name and for a severity that there is not.
    """
    name, colon, wanted = text.partition(":")
    if name in PLAIN:
        if colon:
            raise UsageError(f"degradation {name} has no severities: {printable(text)!r}; say {name}")
        return Degradation(name, PLAIN[name])
    if name not in CORRUPTIONS:
        raise UsageError(f"degradation {printable(name)!r} is unknown; {choices(name, (*PLAIN, *CORRUPTIONS))}")
    severities = {str(severity): severity for severity in SEVERITIES}
    severity = severities.get(wanted) if colon else DEFAULT_SEVERITY
    if severity is None:
        raise UsageError(f"the severity of {name} must be one of {', '.join(severities)}, not {printable(wanted)!r}")

    def change(frame: Frame) -> Tensor:
        return CORRUPTIONS[name](frame.image, frame.index, severity)

    return Degradation(f"{name}:{severity}", change)


def faded_in(video: Video, degradation: Degradation, begin: float, end: float) -> Video:
    """The video with a degradation that comes on the way: not yet there before `begin`, wholly there from `end` on.

    begin, end: shares of the video's length, 0..1. Raises ValueError if the length is unknown.
    """
    if video.length is None:
        raise ValueError("a change cannot be faded into a video of unknown length")
    length = video.length

    def frames() -> Iterator[Frame]:
        for position, frame in enumerate(video.frames()):
            share = min(max((position / length - begin) / (end - begin), 0.0), 1.0)
            mixed = frame.image.float() * (1 - share) + degradation.change(frame).float() * share
            yield dataclasses.replace(frame, image=mixed.round().to(frame.image.dtype), clean=frame.image)

    return dataclasses.replace(video, frames=frames)


def degraded(stream: Stream, degradation: Degradation) -> Stream:
    """The stream with the degradation on every frame. Labels do not change."""
    name = f"{stream.name} {degradation.title}"
    return dataclasses.replace(stream, name=name, video=changed(stream.video, degradation.change))
