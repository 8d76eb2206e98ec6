"""Gives an object the same number from frame to frame, so that its color stays with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
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
    """Tracks the objects of one video; numbers count from `first_number`.

    things: ids of the classes that have instances. shown_score: instances below it are not tracked.
    """

    varying = ("_seen", "_frame", "_last_number")

    def __init__(self, things: frozenset[int], shown_score: float, first_number: int = 1) -> None:
        self.things, self.shown_score = things, shown_score
        self._seen: dict[int, Seen] = {}
        self._frame = 0
        self._last_number = first_number - 1

    def numbered(self, labels: Labels, beside: Labels | None = None) -> Labels:
        """The labels of the next frame, with the `number` of each object set.

        beside: numbered labels of the same frame by another model; what is the same object has the same number there.
        """
        others = () if beside is None else beside.objects_shown(self.things, self.shown_score)
        return labels.numbered(lambda objects: self._tracked(objects, others), self.things, self.shown_score)

    def _tracked(self, objects: Sequence[Instance], others: Sequence[Instance]) -> tuple[Instance, ...]:
        """Gives each object the number of the other, or else the known, object that it overlaps best, or a new one."""
        numbers: dict[int, int] = {}
        for known in (others, [seen.instance for seen in self._seen.values()]):
            taken = set(numbers.values())
            numbers |= self._matched([old for old in known if old.number not in taken], objects, numbers.keys())
        numbered = tuple(
            dataclasses.replace(instance, number=numbers.get(index) or self._next())
            for index, instance in enumerate(objects)
        )
        self._frame += 1
        self._seen |= {instance.number: Seen(instance, self._frame) for instance in numbered}
        oldest = self._frame - FRAMES_REMEMBERED
        self._seen = {number: seen for number, seen in self._seen.items() if seen.frame > oldest}
        return numbered

    def _matched(
        self, known: Sequence[Instance], objects: Sequence[Instance], without: Collection[int]
    ) -> dict[int, int]:
        """The number of the known object of its class that each object is paired with, by the object's index.

        Pairs are chosen to maximize the sum of the overlaps. without: indices of objects that are left out.
        """
        free = [index for index in range(len(objects)) if index not in without]
        if not known or not free:
            return {}
        from scipy.optimize import linear_sum_assignment  # Takes a while, and is for objects only.

        overlaps = self._overlaps(known, [objects[index] for index in free])
        pairs = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
        return {free[column]: known[row].number for row, column in pairs if overlaps[row, column] >= SMALLEST_OVERLAP}

    def _next(self) -> int:
        self._last_number += 1
        return self._last_number

    @staticmethod
    def _overlaps(known: Sequence[Instance], objects: Sequence[Instance]) -> np.ndarray:
        """IoU, float64 (known, objects); 0 between objects of different classes."""
        iou = coco_mask.iou([old.mask for old in known], [new.mask for new in objects], [0] * len(objects))
        same = np.array([[old.class_id == new.class_id for new in objects] for old in known])
        return np.where(same, iou, 0.0)
