"""The interface of a metric: it takes predictions and labels of frames and returns scores by two protocols."""

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
    """Scores in the unit of the metric; NaN if there was nothing to score."""

    pooled: float
    """Headline figure over all frames at once."""
    paper: float
    """Headline figure of each frame, averaged over the frames."""
    by_class: dict[str, float]
    """Headline figure by class, pooled."""
    details: dict[str, float]
    """Other figures that the field reports, pooled."""


class Metric(ABC):
    """Counts the frames of one or more videos.

    Protocol "pooled" scores all frames together. Protocol "paper" scores each frame, averages over a video, and weights
    videos by their number of frames, so it is the mean over all frames.
    """

    key: ClassVar[str]
    """Name of the headline figure in files."""
    title: ClassVar[str]
    """Name of the headline figure for people."""
    unit: ClassVar[str] = "percent"
    """Unit of the headline figure."""

    def __init__(self, names: Sequence[str]) -> None:
        """names: of the classes."""
        self.names = tuple(names)
        self.frame_scores: list[float] = []
        """Headline figure of every frame, 0..1 if the unit is percent; NaN if there was nothing to score."""
        self.unlabeled: frozenset[int] = frozenset()
        """Classes that the labels do not tell from others. They have no score of their own; predicting one is wrong."""

    @classmethod
    def missing_metrics(cls) -> list[str]:
        """What cannot be measured on this machine and how to change that, one line each."""
        return []

    @abstractmethod
    def update(self, prediction: Labels, truth: Labels) -> None:
        """Counts one frame. Raises ValueError if sizes differ."""

    @abstractmethod
    def __iadd__(self, other: Self) -> Self:
        """Adds another video, or another worker's share."""

    @abstractmethod
    def compute(self) -> Scores:
        """The scores over everything counted."""

    @abstractmethod
    def counts(self) -> dict[str, Any]:
        """The counts, as plain lists and numbers."""

    @classmethod
    @abstractmethod
    def from_counts(cls, content: dict[str, Any]) -> Self:
        """The metric from the output of `as_json`, without its frame scores."""

    def paper(self) -> float:
        """The mean over frames, in percent."""
        return mean_of_known(self.frame_scores) * 100

    def as_json(self) -> dict[str, Any]:
        """The whole metric, for `metric_from_json` (metrics/table.py)."""
        return {
            "key": self.key,
            "names": self.names,
            "unlabeled": sorted(self.unlabeled),
            "frame_scores": self.frame_scores,
            **self.counts(),
        }


def mean_of_known(values: ArrayLike) -> float:
    """The mean of the values that are not NaN; NaN if all are."""
    array = np.asarray(values, dtype=np.float64)
    known = array[~np.isnan(array)]
    return float(known.mean()) if known.size else float("nan")
