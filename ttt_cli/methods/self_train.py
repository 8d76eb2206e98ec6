"""Self-training (paper, appendix A.1): fit the model's own confident predictions from an image mostly hidden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from ttt_cli.masking import random_visible
from ttt_cli.methods.base import Method
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.reconstruction import ReconstructionSettings
from ttt_cli.tasks.semantic import class_probabilities


@dataclass(frozen=True)
class SelfTrain(Method):
    """f takes a step on its own pseudo-labels before each prediction.

    confidence: lambda of the paper, which does not give its value; pixels less sure than this give no label.
    """

    confidence: float = 0.9

    def parameters(self, model: TwoHeadedModel) -> Iterator[nn.Parameter]:
        """All of f."""
        yield from model.encoder.parameters()

    def loss(
        self, model: TwoHeadedModel, images: Tensor, reconstruction: ReconstructionSettings, generator: Generator
    ) -> Tensor:
        """Cross-entropy of the masked images' prediction with the whole images' confident one."""
        with torch.no_grad():
            confidence, label = class_probabilities(model.segment(model.encode(images))).max(dim=1)
        size = (images.shape[-2], images.shape[-1])
        visible = random_visible(
            len(images), size, reconstruction.patch_pixels, reconstruction.mask_ratio, generator, images.device
        )
        masked = class_probabilities(model.segment(model.encode(images, visible)))
        error = -masked.clamp(min=1e-6).log().gather(1, label[:, None])[:, 0]
        confident = confidence > self.confidence
        return (error * confident).sum() / confident.sum().clamp(min=1)
