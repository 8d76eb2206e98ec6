"""Gives an object the same number from frame to frame, so that its color stays with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from ttt_cli.core.labels import Instance, Labels
from ttt_cli.core.resumable import Resumable

SMALLEST_OVERLAP = 0.2
"""An object must have at least this IoU with its mask when last seen; below, it counts as a new object."""
FRAMES_REMEMBERED = 10
"""An object unseen for this many frames is forgotten."""


@dataclass(frozen=True)
class Seen:
    """An object as it was last seen."""

    instance: Instance
    frame: int
    """Counted from 1."""


class Tracks(Resumable):
    """Tracks the objects of one video; numbers count from 1.

    things: ids of the classes that have instances. shown_score: instances below it are not tracked.
    """

    varying = ("_seen", "_frame", "_last_number")

    def __init__(self, things: frozenset[int], shown_score: float) -> None:
        self.things, self.shown_score = things, shown_score
        self._seen: dict[int, Seen] = {}
        self._frame = 0
        self._last_number = 0

    def numbered(self, labels: Labels) -> Labels:
        """The labels of the next frame, with the `number` of each object set."""
        return labels.numbered(self._tracked, self.things, self.shown_score)

    def _tracked(self, objects: Sequence[Instance]) -> tuple[Instance, ...]:
        """Gives each object the number of the known object of its class that it overlaps best, or a new number.

        Pairs are chosen to maximize the sum of the overlaps.
        """
        known = list(self._seen)
        matches: dict[int, int] = {}
        if known and objects:
            from scipy.optimize import linear_sum_assignment  # Takes a while, and is for objects only.

            overlaps = self._overlaps([self._seen[number].instance for number in known], objects)
            for row, column in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
                if overlaps[row, column] >= SMALLEST_OVERLAP:
                    matches[int(column)] = known[row]
        numbered = tuple(
            dataclasses.replace(instance, number=matches.get(index) or self._next())
            for index, instance in enumerate(objects)
        )
        self._frame += 1
        self._seen |= {instance.number: Seen(instance, self._frame) for instance in numbered}
        oldest = self._frame - FRAMES_REMEMBERED
        self._seen = {number: seen for number, seen in self._seen.items() if seen.frame > oldest}
        return numbered

    def _next(self) -> int:
        self._last_number += 1
        return self._last_number

    @staticmethod
    def _overlaps(known: Sequence[Instance], objects: Sequence[Instance]) -> np.ndarray:
        """IoU, float64 (known, objects); 0 between objects of different classes."""
        iou = coco_mask.iou([old.mask for old in known], [new.mask for new in objects], [0] * len(objects))
        same = np.array([[old.class_id == new.class_id for new in objects] for old in known])
        return np.where(same, iou, 0.0)
