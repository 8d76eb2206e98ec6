"""LN Adapt (Schneider et al. 2020; paper, appendix A.2): normalization statistics follow the video, no gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ttt_cli.adaptation.methods.base import Method
from ttt_cli.core.frame import Frame
from ttt_cli.model.two_headed import TwoHeadedModel

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter


@dataclass(frozen=True)
class StatisticsAdapt(Method):
    """Batch normalization's statistics move towards each frame's by a forward pass on it, and fade as weights do.

    Layer normalization keeps no statistics, it takes those of its input anyway: there, nothing changes.
    """

    momentum: float = 0.3
    """Share of the new frame in the statistics.

    Chosen among 0.03, 0.1, 0.3 and 1 on stills held out (benchmarks/tune.py) with the forgetting of `street`.
    """

    def statistics(self, model: TwoHeadedModel) -> Iterator[Tensor]:
        """Mean and variance of every batch normalization of f."""
        for module in _batch_norms(model):
            yield from (one for one in (module.running_mean, module.running_var) if one is not None)

    def before_step(self, adapter: Adapter, frame: Frame) -> None:
        """The statistics follow the frame."""
        self.update_statistics(adapter.model, frame.image[None].to(adapter.compute.device))
        adapter.start_statistics.pull(adapter.settings.forgetting)

    @torch.no_grad()
    def update_statistics(self, model: TwoHeadedModel, image: Tensor) -> None:
        """A forward pass on an image, (1, 3, H, W), that moves the statistics and nothing else."""
        for module in _batch_norms(model):
            module.momentum = self.momentum
            module.training = True
        model.encode(image)
        for module in _batch_norms(model):
            module.training = False
            if module.num_batches_tracked is not None:
                module.num_batches_tracked.sub_(1)  # The count of frames, which nothing asks for, stays as it was.


def _batch_norms(model: TwoHeadedModel) -> Iterator[nn.modules.batchnorm._BatchNorm]:
    for module in model.encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            yield module
