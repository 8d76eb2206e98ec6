"""Alignment of feature statistics (ActMAD, Mirza et al. 2023; ViTTA, Lin et al. 2023), with a dead zone: ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn

from ttt_cli.adaptation.memory import Batch
from ttt_cli.adaptation.methods.base import Method
from ttt_cli.core.ranges import require_not_negative
from ttt_cli.model.feature_statistics import DEAD_ZONE, FAMILIAR
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import Encoded, SplitModel


@dataclass(frozen=True)
class Align(Method):
    """f takes a step that brings the channels of its features back to where they are on ordinary pictures.

    Single pictures differ, so a channel counts only from `dead_zone` spreads on; on familiar video the loss is almost 0
    everywhere, and below `familiar` no step is taken, so that the model stays what it is. Nothing is hidden and nothing
    reconstructed: the method needs no g.
    """

    dead_zone: float = DEAD_ZONE
    """Distance from the mean over ordinary pictures, in spreads, that is not counted."""
    familiar: float = FAMILIAR
    """Distance of a frame up to which no step is taken."""

    shares_forward: ClassVar[bool] = True
    needs_ordinary_features: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "dead_zone", "familiar")

    def parameters(self, model: SplitModel) -> Iterator[nn.Parameter]:
        """All of f."""
        yield from model.encoder.parameters()

    def loss(
        self, model: SplitModel, batch: Batch, reconstruction: ReconstructionSettings, generator: Generator
    ) -> Tensor:
        """The distance from ordinary features."""
        return self.encode_with_loss(model, batch.images)[1]

    def encode_with_loss(self, model: SplitModel, images: Tensor) -> tuple[Encoded, Tensor]:
        """f's output, and the distance of its channels from ordinary ones."""
        return model.encode_with_distance(images, self.dead_zone)

    def finds_familiar(self, loss: float) -> bool:
        """Whether the distance is at most `familiar`."""
        return loss <= self.familiar
