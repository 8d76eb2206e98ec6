"""A labelled video, as `tttv eval` takes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ttt_cli.frame import Video
from ttt_cli.tasks.classes import Class


@dataclass(frozen=True)
class Stream:
    """video: frames alone; this is all that a model is given.

    truth: the label of the frame of a name, uint8 (H, W) with 255 for void, or None; only scoring asks for it.
    """

    name: str
    classes: tuple[Class, ...]
    video: Video
    truth: Callable[[str], Tensor | None]
