"""mIoU: intersection over union of each class, averaged over classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ttt_cli.core.classes import VOID
from ttt_cli.core.labels import ClassMap, Labels
from ttt_cli.metrics.base import Metric, Scores, mean_of_known


class SemanticMetric(Metric):
    """mIoU of ClassMaps. The IoU of a frame is averaged over the classes that occur in its label or prediction."""

    key: ClassVar[str] = "miou"
    title: ClassVar[str] = "mIoU"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.confusion = torch.zeros(len(self.names), len(self.names), dtype=torch.int64)

    def update(self, prediction: Labels, truth: Labels) -> None:
        """Counts one frame. Both labels are a ClassMap; pixels whose truth is 255 are ignored."""
        predicted, labeled = ClassMap.expect(prediction).ids, ClassMap.expect(truth).ids
        if predicted.shape != labeled.shape:
            raise ValueError(f"prediction {tuple(predicted.shape)} and label {tuple(labeled.shape)} differ in size")
        counts = _confusion(predicted[labeled != VOID], labeled[labeled != VOID], len(self.names))
        self.confusion += counts
        self.frame_scores.append(mean_of_known(self._iou(counts)))

    def __iadd__(self, other: SemanticMetric) -> SemanticMetric:
        self.confusion += other.confusion
        self.frame_scores += other.frame_scores
        self.unlabeled &= other.unlabeled
        return self

    def compute(self) -> Scores:
        """A class that occurs in neither label nor prediction has no IoU."""
        iou = self._iou(self.confusion) * 100
        by_class = dict(zip(self.names, iou.tolist(), strict=True))
        return Scores(pooled=mean_of_known(iou), paper=self.paper(), by_class=by_class, details={})

    def counts(self) -> dict[str, Any]:
        return {"confusion": self.confusion.tolist()}

    @classmethod
    def from_counts(cls, content: dict[str, Any]) -> SemanticMetric:
        metric = cls(content["names"])
        metric.confusion += torch.tensor(content["confusion"], dtype=torch.int64)
        return metric

    def _iou(self, confusion: Tensor) -> Tensor:
        hits = confusion.diagonal().double()
        iou = hits / (confusion.sum(dim=0) + confusion.sum(dim=1) - hits)
        iou[list(self.unlabeled)] = torch.nan
        return iou


def _confusion(predicted: Tensor, labeled: Tensor, classes: int) -> Tensor:
    """How many of the N pixels have which label and which prediction, both (N,): (labels, predictions), int64."""
    pairs = labeled.long() * classes + predicted.long()
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)
