"""Hard cuts between scenes, told while the video runs."""

from __future__ import annotations

import statistics
from collections import deque

from torch import Tensor
from torch.nn import functional

THUMBNAIL = (36, 64)
SMALLEST_CHANGE = 20.0
"""Of 255, on average over a thumbnail. Adjacent frames of steady film differ by 1 to 15, cuts by 40 and more."""
TIMES_THE_USUAL = 3.0
"""Fast motion and few frames a second change every frame; a cut changes one frame much more than those before it."""
FRAMES_REMEMBERED = 10


class Cuts:
    """The frames of one video so far."""

    def __init__(self) -> None:
        self._before: Tensor | None = None
        self._changes: deque[float] = deque(maxlen=FRAMES_REMEMBERED)

    def begins_scene(self, image: Tensor) -> bool:
        """Whether a new scene begins with this frame, uint8 RGB (3, H, W). The first frame begins none."""
        now = functional.interpolate(image[None].float(), size=THUMBNAIL, mode="area")[0]
        before, self._before = self._before, now
        if before is None:
            return False
        change = float((now - before).abs().mean())
        usual = statistics.median(self._changes) if self._changes else 0.0
        if change > SMALLEST_CHANGE and change > TIMES_THE_USUAL * usual and self._changes:
            self._changes.clear()
            return True
        self._changes.append(change)
        return False
