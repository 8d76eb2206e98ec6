"""When a run makes checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ttt_cli.run.journal import packed
from ttt_cli.run.outputs import Outputs

LARGEST_SHARE = 0.02
"""Of the time of a run, that checkpoints may take."""


class Checkpoints:
    """Makes checkpoints where the overlay's pieces end, but no more than take a small share of the time.

    states: of the parts of the run besides the outputs, by name.
    """

    def __init__(self, outputs: Outputs, states: dict[str, Callable[[], dict[str, Any]]]) -> None:
        self.outputs, self.states = outputs, states
        self._every = outputs.settings.output.checkpoint_frames
        self._latest, self._packing_seconds = time.perf_counter(), 0.0

    def after(self, frames: int) -> None:
        """Called when so many frames are done and handed to the outputs."""
        cost = self._packing_seconds + self.outputs.journal_seconds
        began = time.perf_counter()
        if frames % self._every or began - self._latest < cost / LARGEST_SHARE:
            return
        self.outputs.checkpoint({name: packed(state()) for name, state in self.states.items()})
        self._latest = time.perf_counter()
        self._packing_seconds = self._latest - began
