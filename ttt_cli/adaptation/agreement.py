"""How well a model's predictions for a frame and for its mirror image agree: a sign of its accuracy without labels.

Of several ways to run a model on the same pictures, the one with the best agreement nearly always has the best mIoU;
entropy and the reconstruction loss do not tell (docs/trials.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ttt_cli.adaptation.predictors import mirrored
from ttt_cli.core.frame import Frame
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.tasks.semantic import class_probabilities

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter

KEPT = 0.5
"""Share of the earlier agreement when another frame is measured, so that one odd frame decides little."""
MARGIN = 0.002
"""How much better than the fixed model's another agreement must be: held-out stills as they are differ by less."""


@torch.no_grad()
def mirror_agreement(model: TwoHeadedModel, image: Tensor) -> float:
    """The share of cells to which an image and its mirror image get the same class, 0..1. image: (1, 3, H, W)."""
    classes, reflected = (
        class_probabilities(model.segment(model.encode(view))).argmax(dim=1) for view in (image, mirrored(image))
    )
    return float((classes == reflected.flip(-1)).float().mean())


class ChosenClamp:
    """How far f's channels may lie from ordinary ones on one video, in spreads, as last chosen by the agreement."""

    def __init__(self) -> None:
        self.frames = 0
        self.dead_zone = math.inf
        self.agreement: dict[float, float] = {}

    @property
    def chosen(self) -> float | None:
        """The dead zone, None if nothing is clamped."""
        return None if math.isinf(self.dead_zone) else self.dead_zone

    def update(
        self, adapter: Adapter, frame: Frame, dead_zones: Iterable[float], largest_gain: float, every: int
    ) -> None:
        """Counts the next frame. On the first and every `every`-th after it, chooses a dead zone or none, infinity."""
        self.frames += 1
        if (self.frames - 1) % every:
            return
        image = frame.image[None].to(adapter.compute.device)
        for dead_zone in (math.inf, *dead_zones):
            with adapter.model.clamped(dead_zone, largest_gain), adapter.compute.autocast():
                now = mirror_agreement(adapter.model, image)
            self.agreement[dead_zone] = KEPT * self.agreement.get(dead_zone, now) + (1 - KEPT) * now
        best = max(self.agreement, key=self.agreement.__getitem__)
        better = self.agreement[best] - self.agreement[math.inf]
        self.dead_zone = best if better > MARGIN else math.inf
