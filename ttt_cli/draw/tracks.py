"""Gives an object the same number from frame to frame, so that its color stays with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from ttt_cli.core.labels import Instance, Labels

SMALLEST_OVERLAP = 0.2
"""IoU with the object's mask when it was last seen; below that it counts as another one."""
FRAMES_REMEMBERED = 10


@dataclass(frozen=True)
class _Seen:
    instance: Instance
    frame: int


class Tracks:
    """The objects of one video so far; numbers count from 1.

    things: the classes that come in objects. shown_score: instances below it are not followed.
    """

    def __init__(self, things: frozenset[int], shown_score: float) -> None:
        self.things, self.shown_score = things, shown_score
        self._seen: dict[int, _Seen] = {}
        self._frame = 0
        self._given = 0

    def numbered(self, labels: Labels) -> Labels:
        """The labels of the next frame, its objects with their `number`."""
        return labels.numbered(self._followed, self.things, self.shown_score)

    def _followed(self, objects: Sequence[Instance]) -> tuple[Instance, ...]:
        """Each gets the number of the object of the same class that it covers best, or a new one.

        Pairs are chosen so that the overlaps add up to the most.
        """
        known = list(self._seen)
        found: dict[int, int] = {}
        if known and objects:
            overlaps = self._overlaps([self._seen[number].instance for number in known], objects)
            for row, column in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
                if overlaps[row, column] >= SMALLEST_OVERLAP:
                    found[int(column)] = known[row]
        numbered = tuple(
            dataclasses.replace(one, number=found.get(index) or self._next()) for index, one in enumerate(objects)
        )
        self._frame += 1
        self._seen |= {one.number: _Seen(one, self._frame) for one in numbered}
        oldest = self._frame - FRAMES_REMEMBERED
        self._seen = {number: seen for number, seen in self._seen.items() if seen.frame > oldest}
        return numbered

    def _next(self) -> int:
        self._given += 1
        return self._given

    @staticmethod
    def _overlaps(before: Sequence[Instance], now: Sequence[Instance]) -> np.ndarray:
        """IoU, float64 (before, now); 0 between objects of different classes."""
        iou = coco_mask.iou([one.mask for one in before], [one.mask for one in now], [0] * len(now))
        same = np.array([[old.class_id == new.class_id for new in now] for old in before])
        return np.where(same, iou, 0.0)
