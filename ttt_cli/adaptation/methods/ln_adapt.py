"""LN Adapt (Schneider et al. 2020; paper, appendix A.2): normalisation statistics follow the video, no gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ttt_cli.adaptation.methods.base import Method
from ttt_cli.model.two_headed import TwoHeadedModel


@dataclass(frozen=True)
class StatisticsAdapt(Method):
    """Batch normalisation's statistics move towards each frame's by a forward pass on it, and fade as weights do.

    Layer normalisation keeps no statistics, it takes those of its input anyway: there, nothing changes.
    momentum: share of the new frame in the statistics, chosen among 0.03, 0.1, 0.3 and 1 on stills held out
        (benchmarks/tune.py) with the forgetting of `street`.
    """

    momentum: float = 0.3

    def statistics(self, model: TwoHeadedModel) -> Iterator[Tensor]:
        """Mean and variance of every batch normalisation of f."""
        for module in _batch_norms(model):
            yield from (one for one in (module.running_mean, module.running_var) if one is not None)

    @torch.no_grad()
    def look(self, model: TwoHeadedModel, image: Tensor) -> None:
        """A forward pass that updates the statistics."""
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
