"""The main task's training loss l_m."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ttt_cli.core.classes import VOID, Class, things_of
from ttt_cli.model.queries import MaskQueries, class_probabilities
from ttt_cli.tasks.semantic import upsample
from ttt_cli.training.matching import MatchingLoss, mask_targets
from ttt_cli.training.parts import Part, Terms, joined_terms
from ttt_cli.training.stills import Still


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
    objects: bool = True
    """Whether each object is a mask of its own; if not, a class is one mask, as in semantic segmentation."""


def things_in(settings: MainLossSettings, classes: tuple[Class, ...]) -> frozenset[int]:
    """The classes whose objects are masks of their own."""
    return things_of(classes) if settings.objects else frozenset()


def new_matching(settings: MainLossSettings, classes: tuple[Class, ...]) -> MatchingLoss:
    """Mask2Former's loss with these weights."""
    weights = {
        "loss_cross_entropy": settings.class_weight,
        "loss_mask": settings.mask_weight,
        "loss_dice": settings.dice_weight,
    }
    return MatchingLoss(weights, len(classes), settings.points)


class MainLoss(nn.Module):
    """l_m of a batch: set matching over queries, plus cross-entropy and overlap of the pixels' classes.

    The dense classifier's weights are trained too.
    """

    def __init__(
        self, settings: MainLossSettings, classes: tuple[Class, ...], pixel_share: Tensor, channels: int
    ) -> None:
        """pixel_share: the share of each class among the labeled pixels of the training set: (K,).

        channels: channels of the pixel features.
        """
        super().__init__()
        self.settings = settings
        self.things = things_in(settings, classes)
        self.matching = new_matching(settings, classes)
        self.dense_classifier = nn.Conv2d(channels, len(classes), 1)
        rarity = pixel_share.clamp(min=1e-4) ** -settings.rare_class_power
        self.class_weights: Tensor
        self.register_buffer("class_weights", rarity / (rarity * pixel_share).sum())

    def mask_count(self, still: Still) -> int:
        """How many masks a still has."""
        return len(mask_targets(still, self.things)[0])

    def terms(self, queries: MaskQueries, part: Part) -> Terms:
        """What l_m is computed from: the terms of the matching, then those of both class maps."""
        dense = self.dense_classifier(queries.pixel_features.float()).softmax(dim=1)
        layers = [(queries.class_logits, queries.mask_logits), *queries.auxiliary]
        matching = self.matching.terms(layers, part, self.things)
        probabilities = class_probabilities(queries.class_logits, queries.mask_logits)
        maps = [self.pixel_terms(scores, queries.image_size, part.stills) for scores in (probabilities, dense)]
        return joined_terms([matching, *maps])

    def forward(self, terms: Terms) -> Tensor:
        """l_m, a scalar. terms: those of the whole batch."""
        matching, *entropies = torch.split(terms.means, [len(terms.means) - 2, 1, 1])
        queries, dense = map(self.pixel_loss, entropies, terms.sums.chunk(2))
        loss: Tensor = self.matching.mean_over_layers(matching) + queries + self.settings.dense_weight * dense
        return loss

    def pixel_terms(self, probabilities: Tensor, image_size: tuple[int, int], stills: Sequence[Still]) -> Terms:
        """What `pixel_loss` is computed from: a cross-entropy, and the sums that `overlap_loss` wants.

        probabilities: of classes, (B, K, H/4, W/4).
        """
        scores = upsample(probabilities, image_size)
        truth = torch.stack([still.classes for still in stills]).long().to(scores.device)
        weight = self.class_weights[truth[truth != VOID]].sum()
        if bool((truth == VOID).all()):
            entropy = 0 * scores.sum()
        else:
            likely = scores.clamp(min=1e-6).log()
            entropy = functional.nll_loss(likely, truth, weight=self.class_weights, ignore_index=VOID)
        return Terms(entropy[None], weight[None], overlap_sums(scores, truth))

    def pixel_loss(self, entropy: Tensor, sums: Tensor) -> Tensor:
        """Weighted cross-entropy, (1,), and overlap loss, without void pixels: a scalar, 0 if all are void."""
        return self.settings.pixel_weight * entropy[0] + self.settings.overlap_weight * overlap_loss(sums)


def overlap_sums(scores: Tensor, truth: Tensor) -> Tensor:
    """For each class the sum of its scores on its own pixels, that on all pixels, and the number of its pixels: (3 K,).

    scores: probabilities (B, K, H, W). truth: int64 (B, H, W), 255 = void; void pixels are left out.
    """
    classes = scores.shape[1]
    known = truth != VOID
    members = functional.one_hot(truth.where(known, classes), classes + 1)[..., :classes].movedim(-1, 1)
    shared = (scores * members).sum(dim=(0, 2, 3))
    claimed = (scores * known[:, None]).sum(dim=(0, 2, 3))
    return torch.cat([shared, claimed, members.sum(dim=(0, 2, 3))])


def overlap_loss(sums: Tensor) -> Tensor:
    """1 - dice, averaged over the classes that have pixels; 0 if none has. sums: as `overlap_sums` returns them."""
    shared, claimed, present = sums.chunk(3)
    dice = 2 * shared / (claimed + present).clamp(min=1)
    return 1 - dice[present > 0].mean() if bool((present > 0).any()) else 0 * dice.sum()
