"""What a metric is: predictions and labels of frames go in, scores by two protocols come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from typing_extensions import Self

from ttt_cli.core.labels import Labels


@dataclass(frozen=True)
class Scores:
    """All in the unit of the metric; NaN where nothing was there to be scored.

    pooled: the headline figure over all frames at once. paper: that of each frame, averaged over the frames.
    by_class: the headline by class, pooled. details: what else the field reports, pooled.
    """

    pooled: float
    paper: float
    by_class: dict[str, float]
    details: dict[str, float]


class Metric(ABC):
    """One or many videos.

    Protocol "pooled" is one account over everything. Protocol "paper" scores each frame, averages over a video, and
    counts videos by their number of frames, which makes it the mean over all frames.
    key, title: what the headline figure is called, in files and by people. unit: of it. names: of the classes.
    frame_scores: the headline of every frame, 0..1 where the unit is percent; NaN where there is nothing to score.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str] = "percent"

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.frame_scores: list[float] = []

    @classmethod
    def left_out(cls) -> list[str]:
        """What is not measured on this machine, and what would change that; one line each."""
        return []

    @abstractmethod
    def update(self, prediction: Labels, truth: Labels) -> None:
        """Counts one frame. Raises ValueError where sizes differ."""

    @abstractmethod
    def __iadd__(self, other: Self) -> Self:
        """Takes in another video, or another worker's share."""

    @abstractmethod
    def compute(self) -> Scores:
        """The scores over all that was counted."""

    @abstractmethod
    def counts(self) -> dict[str, Any]:
        """What was counted, as plain lists and numbers."""

    @classmethod
    @abstractmethod
    def from_counts(cls, content: dict[str, Any]) -> Self:
        """The metric that `as_json` wrote, without its frame scores."""

    def paper(self) -> float:
        """The mean over frames, in percent."""
        return mean_of_known(self.frame_scores) * 100

    def as_json(self) -> dict[str, Any]:
        """Everything; `metric_from_json` (table.py) reads it."""
        return {"key": self.key, "names": self.names, "frame_scores": self.frame_scores, **self.counts()}


def mean_of_known(values: ArrayLike) -> float:
    """The mean of what is not NaN; NaN where nothing is."""
    array = np.asarray(values, dtype=np.float64)
    known = array[~np.isnan(array)]
    return float(known.mean()) if known.size else float("nan")
