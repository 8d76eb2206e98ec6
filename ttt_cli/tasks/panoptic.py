"""Panoptic segmentation: every pixel belongs to one object, or to one region of stuff, or to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ttt_cli.core.frame import Prediction
from ttt_cli.core.labels import PanopticMap, Segment
from ttt_cli.metrics.panoptic import PanopticMetric
from ttt_cli.model.two_headed import MaskQueries
from ttt_cli.tasks.base import MaskTask
from ttt_cli.tasks.semantic import upsample


@dataclass(frozen=True)
class PanopticPrediction(Prediction):
    """The queries that are sure of their class, before they share out the pixels.

    classes: int64 (N,). scores: float32 (N,), 0..1. mask_logits: float32 (N, h, w), padding included.
    image_size: (height, width) that the model saw. things: classes that come in objects. overlap_threshold: see
    TaskSettings.
    """

    classes: Tensor
    scores: Tensor
    mask_logits: Tensor
    image_size: tuple[int, int]
    things: frozenset[int]
    overlap_threshold: float

    def present(self) -> frozenset[int]:
        return frozenset(one.class_id for one in self.at_size(self.image_size).segments)

    def at_size(self, size: tuple[int, int]) -> PanopticMap:
        """Mask2Former's merge in a frame of `size` (height, width), one mask at full size at a time.

        Each pixel goes to the query with the highest class score times mask score, if the mask holds it; regions of one
        stuff class become one segment.
        """
        device = self.mask_logits.device
        best = torch.zeros(size, device=device)
        owner = torch.zeros(size, dtype=torch.int32, device=device)
        areas = []
        for number, (score, logits) in enumerate(zip(self.scores, self.mask_logits, strict=True), start=1):
            mask = upsample(logits[None, None], self.image_size, size)[0, 0].sigmoid()
            held = mask >= 0.5
            areas.append(held.sum())
            certainty = score * mask
            better = certainty > best
            # A pixel that the best query does not hold belongs to nobody: its number is negative.
            owner.masked_fill_(better & held, number).masked_fill_(better & ~held, -number)
            best = torch.maximum(best, certainty)
        return self._merged(owner.cpu(), torch.tensor(areas))

    def _merged(self, owner: Tensor, areas: Tensor) -> PanopticMap:
        """owner: int32 (H, W), see above. areas: int64 (N,), the pixels that each mask holds."""
        won = owner.abs().flatten().bincount(minlength=len(areas) + 1)[1:]
        held = owner.clamp(min=0)
        held_and_won = held.flatten().bincount(minlength=len(areas) + 1)[1:]
        kept = (held_and_won > 0) & (won >= self.overlap_threshold * areas)
        ids = torch.zeros(len(areas) + 1, dtype=torch.int32)
        segments: dict[int, Segment] = {}
        stuff: dict[int, int] = {}
        for number in (kept.nonzero().flatten() + 1).tolist():
            class_id, score = int(self.classes[number - 1]), float(self.scores[number - 1])
            fresh = len(segments) + 1
            own = fresh if class_id in self.things else stuff.setdefault(class_id, fresh)
            if own in segments:
                score = max(score, segments[own].score)
            segments[own] = Segment(own, class_id, score)
            ids[number] = own
        return PanopticMap(ids[held.long()], tuple(segments.values()))


@dataclass(frozen=True)
class PanopticTask(MaskTask):
    """Mask2Former's reading of the queries."""

    name: ClassVar[str] = "panoptic"

    def postprocess(self, queries: MaskQueries) -> PanopticPrediction:
        """The prediction for a batch of one."""
        scores, classes = queries.class_logits[0].float().softmax(-1).max(dim=-1)
        sure = (classes < len(self.classes)) & (scores > self.settings.object_threshold)
        return PanopticPrediction(
            classes=classes[sure],
            scores=scores[sure],
            mask_logits=queries.mask_logits[0, sure].float(),
            image_size=queries.image_size,
            things=self.things,
            overlap_threshold=self.settings.overlap_threshold,
        )

    def new_metric(self) -> PanopticMetric:
        """Panoptic quality."""
        return PanopticMetric(tuple(one.name for one in self.classes), self.things)
