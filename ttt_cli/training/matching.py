"""Mask2Former's loss: queries are matched to masks, and compared with them at random points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Mask2FormerConfig, SwinConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerHungarianMatcher, Mask2FormerLoss

from ttt_cli.core.classes import VOID
from ttt_cli.training.parts import Part, Terms
from ttt_cli.training.stills import Still

Layer = tuple[Tensor, Tensor]
"""What a decoder layer predicts: class logits, (B, Q, K + 1), and mask logits, (B, Q, h, w)."""


def mask_targets(still: Still, things: frozenset[int]) -> tuple[Tensor, Tensor]:
    """Mask2Former's targets, one per stuff class and per instance: class ids int64 (N,), masks float32 (N, H, W)."""
    classes: list[int] = []
    masks: list[Tensor] = []
    for index in torch.unique(still.classes).tolist():
        region = still.classes == index
        if index == VOID:
            continue
        if index in things:
            for instance in torch.unique(still.instances[region]).tolist():
                if instance > 0:
                    classes.append(index)
                    masks.append(region & (still.instances == instance))
        else:
            classes.append(index)
            masks.append(region)
    if not masks:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, *still.classes.shape)
    return torch.tensor(classes), torch.stack(masks).float()


class PartMatcher(Mask2FormerHungarianMatcher):  # type: ignore[misc]
    """Matches the images of a part at the points that they would have in the whole batch."""

    part: Part

    def forward(
        self, mask_logits: Tensor, class_logits: Tensor, masks: list[Tensor], classes: list[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """The indices of queries, and those of the masks they are matched to, for each image of the part."""
        share = self.part.share
        matches: list[tuple[Tensor, Tensor]] = []
        if share.count == 1:
            return list(super().forward(mask_logits, class_logits, masks, classes))
        for position in range(len(self.part.mask_counts)):
            number, other = divmod(position - share.index, share.count)
            if other:
                torch.rand(1, self.num_points, 2, device=mask_logits.device)
            else:
                image = slice(number, number + 1)
                matches += super().forward(mask_logits[image], class_logits[image], masks[image], classes[image])
        return matches


class MatchingLoss(Mask2FormerLoss):  # type: ignore[misc]
    """Mask2Former's losses of a part of a batch, which add up to those of the whole batch."""

    part: Part
    own_masks: Tensor

    def __init__(self, weights: dict[str, float], classes: int, points: int) -> None:
        """weights: of each kind of loss, by the names that Mask2FormerLoss has for them."""
        cost_class, cost_mask, cost_dice = (weights[f"loss_{kind}"] for kind in ("cross_entropy", "mask", "dice"))
        config = Mask2FormerConfig(backbone_config=SwinConfig(), num_labels=classes, train_num_points=points)
        super().__init__(config, weights)
        self.matcher = PartMatcher(cost_class, cost_mask, cost_dice, points)

    def terms(self, layers: Sequence[Layer], part: Part, things: frozenset[int]) -> Terms:
        """The weighted losses of the last decoder layer, then those of the earlier ones: three of each.

        layers: in this order. Images without any labeled object or region are left out.
        """
        (class_logits, mask_logits), *earlier = layers
        device = mask_logits.device
        images, count = class_logits.shape[:2]
        self.part = self.matcher.part = part
        # Which of the matched masks of the whole batch are of this part.
        own = [(position - part.share.index) % part.share.count == 0 for position in range(len(part.mask_counts))]
        self.own_masks = torch.tensor(own, device=device).repeat_interleave(
            torch.tensor(part.mask_counts, dtype=torch.int64, device=device).clamp(max=count)
        )
        targets = [mask_targets(still, things) for still in part.stills]
        losses = self(
            mask_logits.float(),
            class_logits.float(),
            [masks.to(device) for _, masks in targets],
            [classes.to(device) for classes, _ in targets],
            [
                {"class_queries_logits": classes.float(), "masks_queries_logits": masks.float()}
                for classes, masks in earlier
            ],
        )
        matched = sum(min(len(classes), count) for classes, _ in targets)
        masks = float(sum(len(classes) for classes, _ in targets))
        means_over = {
            "loss_mask": masks,
            "loss_dice": masks,
            "loss_cross_entropy": matched + self.eos_coef * (images * count - matched),
        }
        # The names of losses of earlier decoder layers end in the layer's number.
        kinds = [name.rstrip("_0123456789") for name in losses]
        values = [self.weight_dict[kind] * value for kind, value in zip(kinds, losses.values(), strict=True)]
        weights = torch.tensor([means_over[kind] for kind in kinds], device=device)
        return Terms(torch.stack(values), weights, torch.zeros(0, device=device))

    def mean_over_layers(self, losses: Tensor) -> Tensor:
        """The losses of a decoder layer, summed, on average over the layers: a scalar. losses: of `terms`, (3 L,)."""
        return losses.sum() / (len(losses) // len(self.weight_dict))

    def sample_points_using_uncertainty(self, logits: Tensor, *settings: object) -> Tensor:
        """The points of each matched mask: (N, points, 2). They are drawn for all masks of the whole batch."""
        points: Tensor
        if self.part.share.count == 1:
            points = super().sample_points_using_uncertainty(logits, *settings)
            return points
        everyone = logits.new_zeros(len(self.own_masks), *logits.shape[1:])
        everyone[self.own_masks] = logits
        points = super().sample_points_using_uncertainty(everyone, *settings)[self.own_masks]
        return points
