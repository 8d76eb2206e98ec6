"""Tent (Wang et al. 2020; paper, appendix A.3): only normalization layers are trained, on the prediction's entropy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn

from ttt_cli.adaptation.memory import Batch
from ttt_cli.adaptation.methods.base import Method
from ttt_cli.adaptation.optimizer import NORMALIZATION
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import Encoded, SplitModel


@dataclass(frozen=True)
class Tent(Method):
    """The affine parameters of f's normalization layers take a step on the entropy before each prediction."""

    shares_forward: ClassVar[bool] = True
    needs_class_probabilities: ClassVar[bool] = True
    moves_normalization: ClassVar[bool] = True
    undefined_for: ClassVar[tuple[str, ...]] = ("colorization",)
    undefined_because: ClassVar[str] = "tent makes the model surer of its classes, and a color has none"

    def parameters(self, model: SplitModel) -> Iterator[nn.Parameter]:
        """Scale and offset of every normalization layer of f."""
        for module in model.encoder.modules():
            if isinstance(module, NORMALIZATION):
                yield from module.parameters(recurse=False)

    def loss(
        self, model: SplitModel, batch: Batch, reconstruction: ReconstructionSettings, generator: Generator
    ) -> Tensor:
        """Entropy over the classes, in nats, averaged over pixels."""
        return self.encode_with_loss(model, batch.images)[1]

    def encode_with_loss(self, model: SplitModel, images: Tensor) -> tuple[Encoded, Tensor]:
        """f's output, and the entropy of h's."""
        encoded = model.encode(images)
        probabilities = model.class_probabilities(encoded)
        return encoded, -(probabilities * probabilities.clamp(min=1e-6).log()).sum(dim=1).mean()
