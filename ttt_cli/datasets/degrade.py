"""Streams with degraded frames. To add a degradation, write a function and add a line to DEGRADATIONS."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor

from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.frame import Frame
from ttt_cli.datasets.low_light import low_light
from ttt_cli.datasets.old_film import old_film
from ttt_cli.datasets.stream import Stream
from ttt_cli.video.transforms import changed


def _in_low_light(frame: Frame) -> Tensor:
    return low_light(frame.image, frame.index)


def _on_old_film(frame: Frame) -> Tensor:
    return old_film(frame.image, frame.index)


DEGRADATIONS: dict[str, Callable[[Frame], Tensor]] = {"low-light": _in_low_light, "old-film": _on_old_film}


def degraded(stream: Stream, name: str) -> Stream:
    """The stream with the degradation `name`, a key of DEGRADATIONS, on every frame. Labels do not change."""
    if name not in DEGRADATIONS:
        raise UsageError(f"degradation {printable(name)!r} is unknown; known: {', '.join(DEGRADATIONS)}")
    return dataclasses.replace(stream, name=f"{stream.name} {name}", video=changed(stream.video, DEGRADATIONS[name]))
