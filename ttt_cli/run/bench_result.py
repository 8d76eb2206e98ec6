"""What was measured on this machine, and how often to adapt in consequence."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ttt_cli.adaptation.pace import LONGEST_PAUSE, SHORTEST_MILLISECONDS
from ttt_cli.adaptation.settings import BUDGET, Precision
from ttt_cli.core.frame import Video
from ttt_cli.run.record import machine, versions
from ttt_cli.run.request import RunRequest

EVERY = (1, 2, 4, 8, 16)
"""Of which a run is told what it will take."""
WRITTEN = ("decode", "masks", "draw", "encode")
"""The stages of a run that the model has no part in."""


@dataclass(frozen=True)
class ModelMilliseconds:
    """Median milliseconds of one frame in the model."""

    fixed: float
    """The fixed model's prediction."""
    predict: float
    """The method's prediction, where it does not adapt."""
    step: float | None
    """What adapting adds to that, with a budget; None for a method that does not adapt."""
    step_of_every: float | None
    """What it adds with `--every`, on an average frame that is adapted to."""
    at_rest: bool
    """Whether the method found the video familiar, so that adapting was only a look at the frame."""

    @property
    def step_over_predict(self) -> float | None:
        """A step in predictions."""
        return None if self.step is None else self.step / max(self.predict, SHORTEST_MILLISECONDS)


@dataclass(frozen=True)
class RunMilliseconds:
    """Milliseconds of a frame in whole runs, from the second frame on."""

    fixed: float
    """Of the fixed model's runs, from one frame to the next: the stages overlap."""
    adapting: float
    """Of runs that adapt as with `--budget none`."""
    stages: dict[str, float]
    """Median of each stage in WRITTEN."""


@dataclass(frozen=True)
class Choice:
    """What a run will probably take that adapts on every so manyth frame."""

    every: int
    frames_per_second: float
    times_fixed: float
    """Its time over that of a run of the fixed model."""


@dataclass(frozen=True)
class Bench:
    """What was measured, and what follows from it."""

    request: RunRequest
    """What was asked for, in the quickest precision."""
    video: Video
    frames: int
    """Of each whole run."""
    shortened: bool
    """Whether these are fewer than usual, to save time."""
    reason: str | None
    """Why the input broke off before, if it did."""
    precisions: dict[Precision, float]
    """Milliseconds of a prediction by the fixed model."""
    model: ModelMilliseconds
    run: RunMilliseconds
    peak_mebibytes: float | None
    """Of the runs that adapt; on CUDA of the device's memory. None if the system does not tell."""

    def choice(self, every: int, step: float) -> Choice:
        """A run with a step of so many milliseconds on every so manyth frame, as expected."""
        milliseconds = self.run.fixed + self.model.predict - self.model.fixed + step / every
        milliseconds = max(milliseconds, SHORTEST_MILLISECONDS)
        return Choice(every, 1000 / milliseconds, milliseconds / self.run.fixed)

    @property
    def choices(self) -> list[Choice]:
        """One for each of EVERY; none for a method that does not adapt."""
        step = self.model.step_of_every
        return [] if step is None else [self.choice(every, step) for every in EVERY]

    @property
    def within_budget(self) -> Choice | None:
        """What the usual budget comes to in the long run; None for a method that does not adapt."""
        if self.model.step is None or self.model.step_over_predict is None:
            return None
        every = math.ceil(self.model.step_over_predict / (BUDGET - 1))
        return self.choice(min(max(every, 1), LONGEST_PAUSE), self.model.step)

    @property
    def recommended(self) -> Choice | None:
        """The most frequent steps with which a run takes at most BUDGET times that of the fixed model, if any do.

        None for a method that does not adapt, and on familiar video, where it is not known what a step takes.
        """
        if self.model.at_rest:
            return None
        fitting = (choice for choice in self.choices if choice.times_fixed <= BUDGET)
        return next(fitting, self.within_budget)

    def as_json(self) -> dict[str, Any]:
        """Everything, as nested dicts."""
        adaptation, choices = self.request.settings.adaptation, self.choices
        return {
            "input": self.video.source,
            "height": self.video.size[0],
            "width": self.video.size[1],
            "weights": self.request.weights.identity(),
            "method": adaptation.method,
            "device": str(self.request.device),
            "machine": machine(self.request.device),
            "versions": versions(),
            "frames": self.frames,
            "shortened": self.shortened,
            "reason": self.reason,
            "precision": adaptation.precision,
            "precision_milliseconds": self.precisions,
            "model_milliseconds": dataclasses.asdict(self.model),
            "step_over_predict": self.model.step_over_predict,
            "run_milliseconds": dataclasses.asdict(self.run),
            "frames_per_second": {"fixed": 1000 / self.run.fixed, "adapting": 1000 / self.run.adapting},
            "budget": BUDGET,
            "within_budget": dataclasses.asdict(self.within_budget) if self.within_budget else None,
            "every": [dataclasses.asdict(choice) for choice in choices],
            "recommended_every": self.recommended.every if self.recommended else None,
            "peak_mebibytes": self.peak_mebibytes,
        }
