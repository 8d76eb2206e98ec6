"""Semantic segmentation: one class for every pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ttt_cli.core.classes import VOID
from ttt_cli.core.frame import Prediction
from ttt_cli.core.labels import ClassMap
from ttt_cli.metrics.semantic import SemanticMetric
from ttt_cli.model.most_likely import most_likely
from ttt_cli.model.queries import MaskQueries, class_probabilities
from ttt_cli.model.split import OUTPUT_STRIDE
from ttt_cli.tasks.base import MaskTask


def upsample(scores: Tensor, image_size: tuple[int, int], size: tuple[int, int] | None = None) -> Tensor:
    """Enlarges the scores of every class, (B, K, h, w), to the pixels of the image: (B, K, H, W).

    image_size: (height, width) that the model saw. size: (H, W) of the result, if different.
    """
    height, width = size or image_size
    padded = (
        math.ceil(scores.shape[-2] * OUTPUT_STRIDE * height / image_size[0]),
        math.ceil(scores.shape[-1] * OUTPUT_STRIDE * width / image_size[1]),
    )
    full = functional.interpolate(scores, size=padded, mode="bilinear", align_corners=False)
    return full[..., :height, :width]


def confident_classes(probabilities: Tensor, image_size: tuple[int, int], confidence: float) -> Tensor:
    """Pseudo-labels: the most likely class of each pixel, 255 if it is less likely than `confidence`; uint8 (B, H, W).

    probabilities: (B, K, h, w). image_size: (height, width) that the model saw. confidence: 0..1.
    """
    best, classes = upsample(probabilities, image_size).max(dim=1)
    return classes.masked_fill(best < confidence, VOID).to(torch.uint8)


def cross_entropy(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Mean over the labeled pixels, 0 if there are none. labels: uint8 (B, H, W), 255 = none."""
    scores = upsample(probabilities, (labels.shape[-2], labels.shape[-1])).clamp(min=1e-6).log()
    total = functional.nll_loss(scores, labels.long(), ignore_index=VOID, reduction="sum")
    return total / (labels != VOID).sum().clamp(min=1)


@dataclass(frozen=True)
class SemanticPrediction(Prediction):
    """The class of every pixel."""

    probabilities: Tensor
    """float32 (K, h, w), at the resolution of the mask logits; they sum to 1 over K.

    Methods average them, vote by them or measure how sure they are.
    """
    image_size: tuple[int, int]
    """(height, width) that the model saw."""

    @property
    def numbers(self) -> Sequence[Tensor]:
        return (self.probabilities,)

    @cached_property
    def class_map(self) -> Tensor:
        """uint8 (H, W), on the model's device: the most likely class of every pixel that the model saw."""
        return self.classes_at(self.image_size)

    def present(self) -> frozenset[int]:
        return frozenset(torch.unique(self.class_map.cpu()).tolist())

    def averaged(self, past: Sequence[Prediction]) -> SemanticPrediction:
        probabilities = [prediction.probabilities for prediction in past if isinstance(prediction, SemanticPrediction)]
        return SemanticPrediction(torch.stack(probabilities).mean(dim=0), self.image_size)

    def mirrored(self) -> SemanticPrediction:
        return SemanticPrediction(self.probabilities.flip(-1), self.image_size)

    def at_size(self, size: tuple[int, int]) -> ClassMap:
        """The most likely class of every pixel in a frame of `size` (height, width).

        Resizing the probabilities keeps edges smooth.
        """
        return ClassMap((self.class_map if size == self.image_size else self.classes_at(size)).cpu())

    def classes_at(self, size: tuple[int, int]) -> Tensor:
        """The same at another size, uint8 (H, W), still on the model's device."""
        return most_likely(self.probabilities, lambda scores: upsample(scores, self.image_size, size))


@dataclass(frozen=True)
class SemanticTask(MaskTask):
    """Mask2Former's semantic combination of the queries."""

    name: ClassVar[str] = "semantic"

    def postprocess(self, queries: MaskQueries) -> SemanticPrediction:
        """The prediction for a batch of one."""
        probabilities = class_probabilities(queries.class_logits, queries.mask_logits)
        return SemanticPrediction(probabilities[0], queries.image_size)

    def new_metric(self) -> SemanticMetric:
        """Mean IoU."""
        return SemanticMetric([class_.name for class_ in self.classes])
