"""Panoptic segmentation: every pixel belongs to one object, one region of stuff, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ttt_cli.core.frame import Prediction
from ttt_cli.core.labels import PanopticMap, Segment
from ttt_cli.metrics.panoptic import PanopticMetric
from ttt_cli.model.queries import MaskQueries
from ttt_cli.tasks.base import MaskTask
from ttt_cli.tasks.semantic import upsample


@dataclass(frozen=True)
class PanopticPrediction(Prediction):
    """All queries, before pixels are assigned to those that are sure of their class."""

    classes: Tensor
    """int64 (Q,)."""
    scores: Tensor
    """float32 (Q,), 0..1."""
    sure: Tensor
    """bool (Q,). How many are is not asked before the labels are, since the device would have to be waited for."""
    mask_logits: Tensor
    """float32 (Q, h, w), padding included."""
    image_size: tuple[int, int]
    """(height, width) that the model saw."""
    things: frozenset[int]
    """The classes that come in objects."""
    overlap_threshold: float
    """See TaskSettings."""

    @property
    def numbers(self) -> Sequence[Tensor]:
        return (self.scores, self.mask_logits)

    def present(self) -> frozenset[int]:
        return frozenset(segment.class_id for segment in self.at_size(self.image_size).segments)

    def at_size(self, size: tuple[int, int]) -> PanopticMap:
        """Merges the masks as in Mask2Former, in a frame of `size` (height, width), one full-size mask at a time.

        Each pixel goes to the query with the highest class score times mask score, if its mask holds the pixel. Regions
        of the same stuff class become one segment.
        """
        device = self.mask_logits.device
        sure_scores = self.scores[self.sure]
        best = torch.zeros(size, device=device)
        owner = torch.zeros(size, dtype=torch.int32, device=device)
        areas = []
        for number, (score, logits) in enumerate(zip(sure_scores, self.mask_logits[self.sure], strict=True), start=1):
            mask = upsample(logits[None, None], self.image_size, size)[0, 0].sigmoid()
            held = mask >= 0.5
            areas.append(held.sum())
            certainty = score * mask
            better = certainty > best
            # If the best query's mask does not hold the pixel, the pixel has no owner: its number is negative.
            owner.masked_fill_(better & held, number).masked_fill_(better & ~held, -number)
            best = torch.maximum(best, certainty)
        held_areas = torch.stack(areas).cpu() if areas else torch.zeros(0, dtype=torch.int64)
        return self._merged(owner.cpu(), held_areas, self.classes[self.sure].tolist(), sure_scores.tolist())

    def _merged(self, owner: Tensor, areas: Tensor, classes: list[int], scores: list[float]) -> PanopticMap:
        """owner: int32 (H, W), see at_size. areas: int64 (N,), how many pixels the mask of each sure query holds.

        classes, scores: of the sure queries.
        """
        won = owner.abs().flatten().bincount(minlength=len(areas) + 1)[1:]
        held = owner.clamp(min=0)
        held_and_won = held.flatten().bincount(minlength=len(areas) + 1)[1:]
        kept = (held_and_won > 0) & (won >= self.overlap_threshold * areas)
        ids = torch.zeros(len(areas) + 1, dtype=torch.int32)
        segments: dict[int, Segment] = {}
        stuff: dict[int, int] = {}
        for number in (kept.nonzero().flatten() + 1).tolist():
            class_id, score = classes[number - 1], scores[number - 1]
            new_id = len(segments) + 1
            segment_id = new_id if class_id in self.things else stuff.setdefault(class_id, new_id)
            if segment_id in segments:
                score = max(score, segments[segment_id].score)
            segments[segment_id] = Segment(segment_id, class_id, score)
            ids[number] = segment_id
        return PanopticMap(ids[held.long()], tuple(segments.values()))


@dataclass(frozen=True)
class PanopticTask(MaskTask):
    """Predicts from the queries as Mask2Former does."""

    name: ClassVar[str] = "panoptic"

    def postprocess(self, queries: MaskQueries) -> PanopticPrediction:
        """The prediction for a batch of one."""
        scores, classes = queries.class_logits[0].float().softmax(-1).max(dim=-1)
        return PanopticPrediction(
            classes=classes,
            scores=scores,
            sure=(classes < len(self.classes)) & (scores > self.settings.object_threshold),
            mask_logits=queries.mask_logits[0].float(),
            image_size=queries.image_size,
            things=self.things,
            overlap_threshold=self.settings.overlap_threshold,
        )

    def new_metric(self) -> PanopticMetric:
        """Panoptic quality."""
        return PanopticMetric(tuple(class_.name for class_ in self.classes), self.things)
