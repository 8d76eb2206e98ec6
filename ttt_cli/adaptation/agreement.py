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

from ttt_cli.adaptation.device import Compute
from ttt_cli.adaptation.predictors import mirrored
from ttt_cli.core.frame import Frame
from ttt_cli.core.resumable import Resumable
from ttt_cli.model.feature_statistics import DEAD_ZONE, FAMILIAR
from ttt_cli.model.published.replay import replaced
from ttt_cli.model.split import SplitModel

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter

FIRST_FRAMES = (1, 3, 7, 15)
"""Also asked at the start of a video, after its very first frame, since single frames tell little."""
SHARE = 0.3
"""Smallest share of the newest frame in the mean agreement; while few have been asked, all count alike."""
MARGIN = 0.002
"""How much better than the fixed model's another agreement must be: held-out stills as they are differ by less."""


@torch.no_grad()
def mirror_agreement(model: SplitModel, image: Tensor) -> Tensor:
    """The share of cells to which an image and its mirror image get the same class, a scalar. image: (1, 3, H, W)."""
    classes, reflected = (
        model.class_probabilities(model.encode(view)).argmax(dim=1) for view in (image, mirrored(image))
    )
    return (classes == reflected.flip(-1)).float().mean()


@torch.no_grad()
def is_familiar(model: SplitModel, image: Tensor) -> bool:
    """Whether f's channels are on an image as they are on ordinary pictures. image: (1, 3, H, W)."""
    return Compute.read(model.encode_with_distance(image, DEAD_ZONE)[1])[0] <= FAMILIAR


class ChosenClamp(Resumable):
    """How far f's channels may lie from ordinary ones on one video, in spreads, as last chosen by the agreement."""

    varying = ("first", "turns", "asked", "dead_zone", "agreement")

    def __init__(self) -> None:
        self.first: int | None = None
        self.turns = 0
        self.asked = 0
        self.dead_zone = math.inf
        self.agreement: dict[float, float] = {}

    @property
    def chosen(self) -> float | None:
        """The dead zone, None if nothing is clamped."""
        return None if math.isinf(self.dead_zone) else self.dead_zone

    def update(
        self, adapter: Adapter, frame: Frame, dead_zones: Iterable[float], largest_gain: float, every: int
    ) -> None:
        """Asks a frame that is adapted to if a turn has come since the last one: every `every`-th frame's, or one of
        the first ones'.

        With a budget it is the pace that says whose turn has come.
        """
        if self.first is None:
            self.first = adapter.frames
        position = adapter.frames - self.first
        turns = 1 + position // every + sum(first <= position for first in FIRST_FRAMES)
        if turns == self.turns and not adapter.settings.budget:
            return
        self.turns = turns
        image = adapter.compute.place(frame.image[None])
        with adapter.compute.autocast(), replaced(adapter.quick):
            adapter.at_rest = is_familiar(adapter.model, image)
            if adapter.at_rest:
                self.asked, self.dead_zone = 0, math.inf
            else:
                self._ask(adapter.model, image, dead_zones, largest_gain)

    def _ask(self, model: SplitModel, image: Tensor, dead_zones: Iterable[float], largest_gain: float) -> None:
        """Chooses a dead zone, or none, infinity, by the mean agreement over the frames asked so far."""
        self.asked += 1
        share = max(1 / self.asked, SHARE)
        asked = (math.inf, *dead_zones)
        agreements = []
        for dead_zone in asked:
            with model.clamped(dead_zone, largest_gain):
                agreements.append(mirror_agreement(model, image))
        for dead_zone, now in zip(asked, Compute.read(*agreements), strict=True):
            self.agreement[dead_zone] = (1 - share) * self.agreement.get(dead_zone, now) + share * now
        best = max(self.agreement, key=self.agreement.__getitem__)
        better = self.agreement[best] - self.agreement[math.inf]
        self.dead_zone = best if better > MARGIN else math.inf
