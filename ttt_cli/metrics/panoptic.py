"""Panoptic quality (Kirillov et al. 2019), counted as in the official panopticapi."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ttt_cli.core.labels import Labels, PanopticMap
from ttt_cli.metrics.base import Metric, Scores, mean_of_known


class PanopticMetric(Metric):
    """PQ = SQ x RQ, averaged over the classes that occur. Segments match if their IoU is above one half."""

    key: ClassVar[str] = "pq"
    title: ClassVar[str] = "PQ"

    def __init__(self, names: Sequence[str], things: frozenset[int]) -> None:
        """things: the classes that come in objects."""
        super().__init__(names)
        self.things = things
        self.tally = np.zeros((4, len(self.names)))
        """For each class: sum of IoU of matched segments, matched segments, wrong predictions, missed segments."""

    def update(self, prediction: Labels, truth: Labels) -> None:
        """Counts one frame. Both labels are a PanopticMap."""
        predicted, labeled = PanopticMap.expect(prediction), PanopticMap.expect(truth)
        if predicted.ids.shape != labeled.ids.shape:
            sizes = f"{tuple(predicted.ids.shape)} and label {tuple(labeled.ids.shape)}"
            raise ValueError(f"prediction {sizes} differ in size")
        frame = _matched(predicted, labeled, len(self.names))
        self.tally += frame
        self.frame_scores.append(mean_of_known(_quality(self._scored(frame))[0]))

    def __iadd__(self, other: PanopticMetric) -> PanopticMetric:
        self.tally += other.tally
        self.frame_scores += other.frame_scores
        self.unlabeled &= other.unlabeled
        return self

    def _scored(self, tally: np.ndarray) -> np.ndarray:
        """The tally of the classes that the labels tell from others; the rest do not occur."""
        scored = tally.copy()
        scored[:, list(self.unlabeled)] = 0
        return scored

    def compute(self) -> Scores:
        """PQ by both protocols; SQ, RQ, and PQ of things and of stuff."""
        pq, sq, rq = _quality(self._scored(self.tally)) * 100
        is_thing = np.isin(np.arange(len(self.names)), list(self.things))
        details = {
            "SQ": mean_of_known(sq),
            "RQ": mean_of_known(rq),
            "PQ things": mean_of_known(pq[is_thing]),
            "PQ stuff": mean_of_known(pq[~is_thing]),
        }
        by_class = dict(zip(self.names, pq.tolist(), strict=True))
        return Scores(pooled=mean_of_known(pq), paper=self.paper(), by_class=by_class, details=details)

    def counts(self) -> dict[str, Any]:
        return {"things": sorted(self.things), "tally": self.tally.tolist()}

    @classmethod
    def from_counts(cls, content: dict[str, Any]) -> PanopticMetric:
        metric = cls(content["names"], frozenset(content["things"]))
        metric.tally += np.array(content["tally"])
        return metric


def _matched(prediction: PanopticMap, truth: PanopticMap, classes: int) -> np.ndarray:
    """The tally of a frame, float64 (4, K): sum of IoU, matched, wrong, missed."""
    counted = np.zeros((4, classes))
    overlap, predicted_area, true_area = _overlaps(prediction, truth)
    predicted = {segment.id: segment for segment in prediction.segments}
    missed = {segment.id: segment for segment in truth.segments if not segment.is_crowd}
    crowds = {segment.class_id: segment.id for segment in truth.segments if segment.is_crowd}
    wrong = dict(predicted)
    for (true_id, predicted_id), pixels in overlap.items():
        if true_id not in missed or predicted_id not in predicted:
            continue
        class_id = missed[true_id].class_id
        if predicted[predicted_id].class_id != class_id:
            continue
        # Predictions where nothing is labeled are neither right nor wrong.
        union = predicted_area[predicted_id] + true_area[true_id] - pixels - overlap.get((0, predicted_id), 0)
        iou = pixels / union
        if iou > 0.5:
            counted[:2, class_id] += (iou, 1)
            del missed[true_id], wrong[predicted_id]
    for segment in wrong.values():
        ignored = overlap.get((0, segment.id), 0) + overlap.get((crowds.get(segment.class_id, -1), segment.id), 0)
        if ignored / predicted_area[segment.id] <= 0.5:
            counted[2, segment.class_id] += 1
    for segment in missed.values():
        counted[3, segment.class_id] += 1
    return counted


def _overlaps(
    prediction: PanopticMap, truth: PanopticMap
) -> tuple[dict[tuple[int, int], int], dict[int, int], dict[int, int]]:
    """Pixels by (true id, predicted id), by predicted id, by true id."""
    true_ids, predicted_ids = truth.ids.numpy().ravel().astype(np.int64), prediction.ids.numpy().ravel()
    both, pixels = np.unique(true_ids << 32 | predicted_ids, return_counts=True)
    overlap: dict[tuple[int, int], int] = {}
    predicted_area: dict[int, int] = {}
    true_area: dict[int, int] = {}
    for code, count in zip(both.tolist(), pixels.tolist(), strict=True):
        true_id, predicted_id = code >> 32, code & 0xFFFFFFFF
        overlap[true_id, predicted_id] = count
        true_area[true_id] = true_area.get(true_id, 0) + count
        predicted_area[predicted_id] = predicted_area.get(predicted_id, 0) + count
    return overlap, predicted_area, true_area


def _quality(tally: np.ndarray) -> np.ndarray:
    """float64 (3, K): PQ, SQ and RQ, 0..1; NaN for a class that does not occur."""
    iou, matched, wrong, missed = tally
    weight = matched + wrong / 2 + missed / 2
    occurs = weight > 0
    pq = np.divide(iou, weight, out=np.full_like(iou, np.nan), where=occurs)
    sq = np.where(occurs, np.divide(iou, matched, out=np.zeros_like(iou), where=matched > 0), np.nan)
    rq = np.divide(matched, weight, out=np.full_like(iou, np.nan), where=occurs)
    return np.stack([pq, sq, rq])
