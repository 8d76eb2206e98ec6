"""CoTTA without its augmentation (Wang et al. 2022): labels of an average of the weights, and random restoration.

Without augmentation and with a larger learning rate it is as good as later methods on Cityscapes to ACDC.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Generator, Tensor, nn

from ttt_cli.adaptation.memory import Batch, Snapshot
from ttt_cli.adaptation.methods.base import Method
from ttt_cli.adaptation.methods.self_train import NO_CONFIDENCE
from ttt_cli.adaptation.predictors import NON_SEMANTIC_TASKS
from ttt_cli.core.frame import Frame
from ttt_cli.core.ranges import require_share
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel
from ttt_cli.tasks.semantic import confident_classes, cross_entropy

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter


@dataclass(frozen=True)
class AverageTeacher(Method):
    """f takes a step on the labels that the average of its past weights gives; the average also predicts."""

    window: int | None = 1
    forgetting: float | None = 0.0
    decay: float = 0.999
    """Share of the average that each step keeps."""
    restored: float = 0.01
    """Chance of each weight to go back to f_0 after a step."""
    confidence: float = 0.0
    """Pixels that the average is less sure of give no label."""

    needs_class_probabilities: ClassVar[bool] = True
    undefined_for: ClassVar[tuple[str, ...]] = NON_SEMANTIC_TASKS
    undefined_because: ClassVar[str] = NO_CONFIDENCE

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share(self, "decay", "restored", "confidence")

    def parameters(self, model: SplitModel) -> Iterator[nn.Parameter]:
        """All of f."""
        yield from model.encoder.parameters()

    @torch.no_grad()
    def before_step(self, adapter: Adapter, frame: Frame) -> None:
        """Labels the frame by the average of the weights, which starts from f_0."""
        if adapter.average is None:
            adapter.average = Snapshot(adapter.moving)
        image = adapter.compute.place(frame.image[None])
        with self.predicting(adapter), adapter.compute.autocast():
            probabilities = adapter.model.class_probabilities(adapter.model.encode(image))
        size = (image.shape[-2], image.shape[-1])
        adapter.window.label(confident_classes(probabilities, size, self.confidence)[0])

    def loss(
        self, model: SplitModel, batch: Batch, reconstruction: ReconstructionSettings, generator: Generator
    ) -> Tensor:
        """Cross-entropy of the prediction with the labels of the average."""
        return cross_entropy(model.class_probabilities(model.encode(batch.images)), batch.pseudo_labels)

    def after_step(self, adapter: Adapter) -> None:
        """Restores a random share of the weights, then moves the average."""
        adapter.start.restore_some(self.restored, adapter.generator)
        _average_of(adapter).approach(1 - self.decay)

    def predicting(self, adapter: Adapter) -> AbstractContextManager[None]:
        """The model has the average weights."""
        return _average_of(adapter).restored()


def _average_of(adapter: Adapter) -> Snapshot:
    assert adapter.average is not None, "before_step makes it"
    return adapter.average
