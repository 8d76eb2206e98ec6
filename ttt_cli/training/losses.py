"""The main task's training loss l_m."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Mask2FormerConfig, SwinConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from ttt_cli.core.classes import VOID
from ttt_cli.model.queries import MaskQueries, class_probabilities
from ttt_cli.tasks.semantic import upsample
from ttt_cli.training.stills import Still, mask_targets


@dataclass(frozen=True)
class MainLossSettings:
    """Weights of the parts of l_m."""

    class_weight: float = 2.0
    """Mask2Former's class loss, after matching queries to masks."""
    mask_weight: float = 5.0
    """Mask2Former's mask cross-entropy."""
    dice_weight: float = 5.0
    """Mask2Former's dice loss."""
    pixel_weight: float = 10.0
    """Cross-entropy of the combined class map, from which mIoU is computed.

    Mask2Former has no such term. On a few hundred images it lets a small model learn in an hour.
    """
    rare_class_power: float = 0.5
    """Each class is weighted in that cross-entropy by (share of pixels) ** -power."""
    overlap_weight: float = 5.0
    """1 - dice of the same map, averaged over the classes in the batch: a sign post counts as much as the road."""
    dense_weight: float = 1.0
    """The pixel and overlap terms for a linear classifier of the pixel features, which exists only in training.

    Queries take long to find their classes; this classifier teaches every pixel at once.
    """
    points: int = 2048
    """Points of each mask that Mask2Former's mask and dice losses are computed on."""


class MainLoss(nn.Module):
    """l_m of a batch: set matching over queries, plus cross-entropy and overlap of the pixels' classes.

    The dense classifier's weights are trained too.
    """

    def __init__(self, settings: MainLossSettings, pixel_share: Tensor, channels: int) -> None:
        """pixel_share: the share of each class among the labeled pixels of the training set: (K,).

        channels: channels of the pixel features.
        """
        super().__init__()
        self.settings = settings
        config = Mask2FormerConfig(
            backbone_config=SwinConfig(),
            num_labels=len(pixel_share),
            class_weight=settings.class_weight,
            mask_weight=settings.mask_weight,
            dice_weight=settings.dice_weight,
            train_num_points=settings.points,
        )
        self.weights = {
            "loss_cross_entropy": settings.class_weight,
            "loss_mask": settings.mask_weight,
            "loss_dice": settings.dice_weight,
        }
        self.matching = Mask2FormerLoss(config, self.weights)
        self.dense_classifier = nn.Conv2d(channels, len(pixel_share), 1)
        rarity = pixel_share.clamp(min=1e-4) ** -settings.rare_class_power
        self.class_weights: Tensor
        self.register_buffer("class_weights", rarity / (rarity * pixel_share).sum())

    def forward(self, queries: MaskQueries, batch: list[Still]) -> Tensor:
        """l_m, a scalar. Images without any labeled object or region are left out of the matching."""
        device = queries.mask_logits.device
        targets = [mask_targets(still) for still in batch]
        parts = self.matching(
            queries.mask_logits,
            queries.class_logits,
            [masks.to(device) for _, masks in targets],
            [classes.to(device) for classes, _ in targets],
            [{"class_queries_logits": c, "masks_queries_logits": m} for c, m in queries.auxiliary],
        )
        # The names of parts from earlier decoder layers end in the layer's number.
        weighted = [self.weights[name.rstrip("_0123456789")] * value for name, value in parts.items()]
        matched = torch.stack(weighted).sum() / (1 + len(queries.auxiliary))
        dense = self.dense_classifier(queries.pixel_features).softmax(dim=1)
        return (
            matched
            + self.pixel_loss(class_probabilities(queries.class_logits, queries.mask_logits), queries.image_size, batch)
            + self.settings.dense_weight * self.pixel_loss(dense, queries.image_size, batch)
        )

    def pixel_loss(self, probabilities: Tensor, image_size: tuple[int, int], batch: list[Still]) -> Tensor:
        """Weighted cross-entropy and overlap loss, without void pixels; 0 if all are void.

        probabilities: of classes, (B, K, H/4, W/4).
        """
        scores = upsample(probabilities, image_size)
        truth = torch.stack([still.classes for still in batch]).long().to(scores.device)
        if bool((truth == VOID).all()):
            return 0 * scores.sum()
        entropy = functional.nll_loss(scores.clamp(min=1e-6).log(), truth, weight=self.class_weights, ignore_index=VOID)
        return self.settings.pixel_weight * entropy + self.settings.overlap_weight * overlap_loss(scores, truth)


def overlap_loss(scores: Tensor, truth: Tensor) -> Tensor:
    """1 - dice, averaged over the classes present in the batch; void pixels are left out.

    scores: probabilities (B, K, H, W). truth: int64 (B, H, W), 255 = void.
    """
    classes = scores.shape[1]
    known = truth != VOID
    members = functional.one_hot(truth.where(known, classes), classes + 1)[..., :classes].movedim(-1, 1)
    shared = (scores * members).sum(dim=(0, 2, 3))
    claimed = (scores * known[:, None]).sum(dim=(0, 2, 3))
    present = members.sum(dim=(0, 2, 3))
    dice = 2 * shared / (claimed + present).clamp(min=1)
    return 1 - dice[present > 0].mean()
