"""LN Adapt (Schneider et al. 2020; paper, appendix A.2): normalisation statistics follow the video, no gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ttt_cli.methods.base import Method
from ttt_cli.model.two_headed import TwoHeadedModel


@dataclass(frozen=True)
class StatisticsAdapt(Method):
    """Batch normalisation's statistics move towards each frame's by a forward pass on it.

    Layer normalisation keeps no statistics, it takes those of its input anyway: there, nothing changes.
    momentum: share of the new frame in the statistics, chosen on stills held out (benchmarks/tune.py) among 0.003,
        0.01, 0.03 and 0.1: with the last one, PyTorch's own default, few frames decide, and the model is lost.
    """

    momentum: float = 0.03

    def statistics(self, model: TwoHeadedModel) -> Iterator[Tensor]:
        """Mean and variance (and the counter) of every batch normalisation of f."""
        for module in _batch_norms(model):
            yield from module.buffers(recurse=False)

    @torch.no_grad()
    def look(self, model: TwoHeadedModel, image: Tensor) -> None:
        """A forward pass that updates the statistics."""
        for module in _batch_norms(model):
            module.momentum = self.momentum
            module.training = True
        model.encode(image)
        for module in _batch_norms(model):
            module.training = False


def _batch_norms(model: TwoHeadedModel) -> Iterator[nn.modules.batchnorm._BatchNorm]:
    for module in model.encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            yield module
