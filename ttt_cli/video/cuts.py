"""Detects hard cuts between scenes while the video runs."""

from __future__ import annotations

import statistics
from collections import deque

from torch import Tensor
from torch.nn import functional

from ttt_cli.core.resumable import Resumable

THUMBNAIL = (36, 64)
SMALLEST_CHANGE = 20.0
"""Mean change over a thumbnail, out of 255. Adjacent frames of steady film differ by 1 to 15, cuts by 40 or more."""
TIMES_THE_USUAL = 3.0
"""Fast motion or a low frame rate changes every frame; a cut changes one frame much more than those before it."""
FRAMES_REMEMBERED = 10


class Cuts(Resumable):
    """Compares each frame of a video with the one before it."""

    varying = ("_previous", "_changes")

    def __init__(self) -> None:
        self._previous: Tensor | None = None
        self._changes: deque[float] = deque(maxlen=FRAMES_REMEMBERED)

    def begins_scene(self, image: Tensor) -> bool:
        """Whether a new scene begins with this frame, uint8 RGB (3, H, W). False for the first frame."""
        thumbnail = functional.interpolate(image[None].float(), size=THUMBNAIL, mode="area")[0]
        previous, self._previous = self._previous, thumbnail
        if previous is None:
            return False
        change = float((thumbnail - previous).abs().mean())
        usual = statistics.median(self._changes) if self._changes else 0.0
        if change > SMALLEST_CHANGE and change > TIMES_THE_USUAL * usual and self._changes:
            self._changes.clear()
            return True
        self._changes.append(change)
        return False
