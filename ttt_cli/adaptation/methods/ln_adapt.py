"""LN Adapt (Schneider et al. 2020; paper, appendix A.2): normalization statistics follow the video, no gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from ttt_cli.adaptation.methods.base import Method
from ttt_cli.core.errors import UsageError
from ttt_cli.core.frame import Frame
from ttt_cli.model.split import SplitModel

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter


@dataclass(frozen=True)
class StatisticsAdapt(Method):
    """A forward pass on each frame moves batch normalization's statistics towards its own; they fade as weights do.

    Layer normalization keeps no statistics: it always uses those of its input, so nothing changes there.
    """

    moves_normalization: ClassVar[bool] = True

    momentum: float = 0.3
    """Share of the new frame in the statistics.

    Chosen from 0.03, 0.1, 0.3 and 1 on held-out stills (benchmarks/tune.py), with the forgetting of `street`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.momentum <= 1:
            raise UsageError(f"momentum must be above 0 and at most 1, not {self.momentum}")

    def statistics(self, model: SplitModel) -> Iterator[Tensor]:
        """Mean and variance of every batch normalization of f."""
        for module in _batch_norms(model):
            yield from (buffer for buffer in (module.running_mean, module.running_var) if buffer is not None)

    def before_step(self, adapter: Adapter, frame: Frame) -> None:
        """Moves the statistics towards the frame's."""
        self.update_statistics(adapter.model, adapter.compute.place(frame.image[None]))
        adapter.start_statistics.pull(adapter.forgetting)

    @torch.no_grad()
    def update_statistics(self, model: SplitModel, image: Tensor) -> None:
        """A forward pass on an image, (1, 3, H, W), that changes only the statistics."""
        for module in _batch_norms(model):
            module.momentum = self.momentum
            module.training = True
        model.encode(image)
        for module in _batch_norms(model):
            module.training = False
            if module.num_batches_tracked is not None:
                module.num_batches_tracked.sub_(1)  # Nothing uses this counter; it stays as it was.


def _batch_norms(model: SplitModel) -> Iterator[nn.modules.batchnorm._BatchNorm]:
    for module in model.encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            yield module
