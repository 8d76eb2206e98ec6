"""Instance segmentation: objects, each with a class, a mask and a score; they may overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ttt_cli.core.frame import Prediction
from ttt_cli.core.labels import Instance, Instances, encode
from ttt_cli.metrics.instance import InstanceMetric
from ttt_cli.model.pixels import on_device
from ttt_cli.model.queries import MaskQueries
from ttt_cli.tasks.base import MaskTask
from ttt_cli.tasks.semantic import upsample

MASKS_AT_ONCE = 8
"""How many masks are enlarged together: a hundred in a large frame would not fit in memory."""


@dataclass(frozen=True)
class InstancePrediction(Prediction):
    """The most certain objects, highest score first."""

    classes: Tensor
    """int64 (N,)."""
    scores: Tensor
    """float32 (N,), 0..1."""
    mask_logits: Tensor
    """float32 (N, h, w), padding included; above 0 belongs to the object."""
    image_size: tuple[int, int]
    """(height, width) that the model saw."""
    shown_score: float
    """See TaskSettings."""

    @property
    def numbers(self) -> Sequence[Tensor]:
        return (self.scores, self.mask_logits)

    def present(self) -> frozenset[int]:
        return frozenset(self.classes[self.scores >= self.shown_score].tolist())

    def at_size(self, size: tuple[int, int]) -> Instances:
        """The objects with their masks in a frame of `size` (height, width); empty masks are left out."""
        instances = []
        for start in range(0, len(self.scores), MASKS_AT_ONCE):
            chunk = slice(start, start + MASKS_AT_ONCE)
            masks = (upsample(self.mask_logits[None, chunk], self.image_size, size)[0] > 0).cpu().numpy()
            objects = zip(masks, self.classes[chunk].tolist(), self.scores[chunk].tolist(), strict=True)
            instances += [Instance(index, encode(mask), score) for mask, index, score in objects if mask.any()]
        return Instances(tuple(instances), size)


@dataclass(frozen=True)
class InstanceTask(MaskTask):
    """As in Mask2Former: the best pairs of query and thing class, by class score times mean mask score."""

    name: ClassVar[str] = "instance"

    def postprocess(self, queries: MaskQueries) -> InstancePrediction:
        """The prediction for a batch of one."""
        things = on_device(tuple(sorted(self.things)), queries.class_logits.device)
        scores = queries.class_logits[0].float().softmax(-1)[:, things]
        count = min(self.settings.largest_count, scores.numel())
        best, pairs = scores.flatten().topk(count)
        chosen = pairs // len(things)
        mask_logits = queries.mask_logits[0, chosen].float()
        inside = (mask_logits > 0).float()
        mask_scores = (mask_logits.sigmoid() * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)
        final, order = (best * mask_scores).sort(descending=True, stable=True)
        return InstancePrediction(
            classes=things[pairs % len(things)][order],
            scores=final,
            mask_logits=mask_logits[order],
            image_size=queries.image_size,
            shown_score=self.settings.shown_score,
        )

    def new_metric(self) -> InstanceMetric:
        """Average precision."""
        return InstanceMetric(tuple(class_.name for class_ in self.classes))
