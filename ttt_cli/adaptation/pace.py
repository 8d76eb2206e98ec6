"""When to adapt: on every n-th frame, or as often as a budget of time allows, soonest where the video changes."""

from __future__ import annotations

import statistics
from collections import deque

from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.frame import Timing
from ttt_cli.core.resumable import Resumable

FIRST_FRAMES = 4
"""The frames of a scene that `EveryNth` adapts to, every one of them."""
LONGEST_PAUSE = 64
"""Frames after which a method gets its turn, however little time is left to it."""
EXPECTED_FRAMES, MOST_FRAMES = 256, 1024
"""Length of a video of unknown length; frames at most whose time is spent in advance."""
SAVED_STEPS = 8
"""Steps that a change of the video is worth: they come first, as soon as enough was saved, and no more is saved."""
SHORTEST_MILLISECONDS = 1e-3
"""A prediction is taken to take at least that long."""
COLD = 2.0
"""The first step, for which everything is new, takes about so many times as long as later ones."""
JUMP = 1.3
"""A loss this many times the usual one says that the video has changed."""


class Pace(Resumable):
    """Says of each frame of a video whether to adapt to it: never, here. Make a new pace for each video."""

    def due(self, begins_scene: bool) -> str | None:
        """Called with each frame. Returns why it is adapted to ("scene", "change" or "interval"); None if it is not."""
        return None

    def record(self, timing: Timing, loss: float | None, at_rest: bool) -> None:
        """Called after each frame. loss: of its steps, None if there were none.

        at_rest: whether the method found nothing to do when it last looked.
        """


class EveryNth(Pace):
    """The first frames of a scene, and of the others every n-th (paper: n = 1)."""

    varying = ("position",)

    def __init__(self, n: int) -> None:
        self.n, self.position = n, -1

    def due(self, begins_scene: bool) -> str | None:
        self.position = 0 if begins_scene else self.position + 1
        if self.position < FIRST_FRAMES:
            return "scene"
        return None if self.position % self.n else "interval"


class WithinBudget(Pace):
    """As often as keeps the time of all frames within a multiple of what their predictions alone take.

    Time is counted in predictions. Half of what a frame brings in goes to steps at even distances. The other half is
    saved for the first frames of a scene, and for where the loss jumps; half of what the video will bring in is lent in
    advance, since a step is worth the more the more frames follow it. While a method is at rest, it looks at a frame
    ever less often.

    budget: the multiple, at least 1. length: frames of the video, None if unknown.
    """

    varying = (
        *("saved", "debt", "steady", "urgent", "why_urgent", "since", "pause", "why"),
        *("first_cost", "costs", "predictions", "losses"),
    )

    def __init__(self, budget: float, length: int | None) -> None:
        self.income = budget - 1
        self.saved = self.debt = self.income / 2 * min(length or EXPECTED_FRAMES, MOST_FRAMES)
        self.steady = 0.0
        self.urgent, self.why_urgent = SAVED_STEPS, "scene"
        self.since = self.pause = 0
        self.why: str | None = None
        self.first_cost = 0.0
        self.costs: deque[float] = deque(maxlen=5)  # Of steps after the first one.
        self.predictions: deque[float] = deque(maxlen=15)  # Milliseconds, of frames that were not adapted to.
        self.losses: deque[float] = deque(maxlen=5)

    def due(self, begins_scene: bool) -> str | None:
        self._earn()
        if begins_scene:
            self._hurry("scene")
        self.since += 1
        self.why = self._why()
        if self.why is not None:
            self.since = 0
        return self.why

    def record(self, timing: Timing, loss: float | None, at_rest: bool) -> None:
        if self.why is None:
            self.predictions.append(timing.predict_milliseconds)
            return
        usual = statistics.median(self.predictions or [timing.predict_milliseconds])
        whole = timing.adapt_milliseconds + timing.predict_milliseconds
        cost = max(0.0, whole / max(usual, SHORTEST_MILLISECONDS) - 1)
        if self.first_cost:
            self.costs.append(cost)
        else:
            self.first_cost = cost
        self.urgent = 0 if at_rest else max(0, self.urgent - 1)
        self.pause = min(2 * self.pause + 1, LONGEST_PAUSE - 1) if at_rest else 0
        if self.why == "interval":
            self.steady -= cost
        else:
            self.saved -= cost
        if loss is not None and not at_rest:
            if self.losses and loss > JUMP * statistics.median(self.losses):
                self.losses.clear()
                self._hurry("change")
            self.losses.append(loss)

    @property
    def cost(self) -> float:
        """What the next step will probably take, in predictions."""
        return statistics.median(self.costs) if self.costs else self.first_cost / COLD

    def _hurry(self, why: str) -> None:
        """The next frames come first, out of what was saved."""
        self.urgent, self.why_urgent, self.pause = SAVED_STEPS, why, 0

    def _earn(self) -> None:
        """Takes in what one frame brings: half to save, which first pays back what was lent, and half to spend."""
        half = self.income / 2
        self.steady += half
        if self.debt > 0:
            self.debt -= half
        else:
            self.saved += half
        if not self.urgent:
            too_much = max(0.0, self.saved - SAVED_STEPS * self.cost)
            self.saved -= too_much
            self.steady += too_much

    def _why(self) -> str | None:
        if self.urgent and self.saved >= self.cost:
            return self.why_urgent
        # What a prediction takes must be known, since a step may share its forward pass: so one frame comes without.
        is_affordable = bool(self.predictions) and self.steady >= self.cost
        if self.since >= LONGEST_PAUSE or (is_affordable and self.since > self.pause):
            return "interval"
        return None


def pace_of(settings: AdaptationSettings, length: int | None) -> Pace:
    """The pace that the settings name, for a video with so many frames (None: unknown)."""
    return WithinBudget(settings.budget, length) if settings.budget else EveryNth(settings.every)
