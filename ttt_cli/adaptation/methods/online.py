"""TTT-MAE, the paper's method (section 4.2): masked reconstruction. Its two memories are fields of `Method`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn

from ttt_cli.adaptation.memory import Batch
from ttt_cli.adaptation.methods.base import Method
from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.core.ranges import require_count
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel


@dataclass(frozen=True)
class MaskedReconstruction(Method):
    """f and g take a step on l_s before each prediction."""

    needs_reconstruction: ClassVar[bool] = True

    def parameters(self, model: SplitModel) -> Iterator[nn.Parameter]:
        """All of f and g."""
        yield from model.self_supervised_parameters()

    def loss(
        self, model: SplitModel, batch: Batch, reconstruction: ReconstructionSettings, generator: Generator
    ) -> Tensor:
        """l_s, with an independent mask for every image."""
        return reconstruction_loss(model, batch.images, reconstruction, generator)


@dataclass(frozen=True)
class NoMemory(MaskedReconstruction):
    """Starts every frame from f_0, g_0, and takes more steps instead."""

    carry: bool = False
    window: int | None = 1
    steps: int = 4
    """The paper takes "more steps" a frame without giving a number; 4 is our choice."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "steps")
