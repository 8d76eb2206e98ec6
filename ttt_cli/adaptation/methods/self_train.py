"""Self-training (paper, appendix A.1): fit the model's own confident predictions, from a mostly hidden image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from ttt_cli.adaptation.memory import Batch
from ttt_cli.adaptation.methods.base import Method
from ttt_cli.adaptation.predictors import NON_SEMANTIC_TASKS
from ttt_cli.adaptation.reconstruction import draw_visible
from ttt_cli.core.ranges import require_share
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel
from ttt_cli.tasks.semantic import confident_classes, cross_entropy

NO_CONFIDENCE = (
    "self-training needs to know how sure the model is of a pixel, and objects do not tell (paper, appendix A.1)"
)


@dataclass(frozen=True)
class SelfTrain(Method):
    """f takes a step on its own pseudo-labels before each prediction."""

    confidence: float = 0.9
    """lambda in the paper, which does not give its value; pixels less sure than this give no label."""

    needs_class_probabilities: ClassVar[bool] = True
    decodes_masked: ClassVar[bool] = True
    undefined_for: ClassVar[tuple[str, ...]] = NON_SEMANTIC_TASKS
    undefined_because: ClassVar[str] = NO_CONFIDENCE

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share(self, "confidence")

    def parameters(self, model: SplitModel) -> Iterator[nn.Parameter]:
        """All of f."""
        yield from model.encoder.parameters()

    def loss(
        self, model: SplitModel, batch: Batch, reconstruction: ReconstructionSettings, generator: Generator
    ) -> Tensor:
        """Cross-entropy of the masked images' prediction with the whole images' confident classes."""
        images = batch.images
        with torch.no_grad():
            whole = model.class_probabilities(model.encode(images))
        labels = confident_classes(whole, (images.shape[-2], images.shape[-1]), self.confidence)
        visible = draw_visible(images, reconstruction, generator)
        return cross_entropy(model.class_probabilities(model.encode(images, visible)), labels)
