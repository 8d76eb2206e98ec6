"""Which parameters of test-time training learn at which rate, and which decay: as in Mask2Former and the release."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.model.two_headed import TwoHeadedModel

NORMALISATION = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
NOT_DECAYED = (*NORMALISATION, nn.Embedding)


def moving_parameters(
    model: TwoHeadedModel, parameters: Iterable[nn.Parameter], settings: AdaptationSettings
) -> list[nn.Parameter]:
    """`parameters`, without those of g where its learning rate is nothing."""
    still = set() if settings.reconstruction_rate_factor else {id(p) for p in model.reconstruction_head.parameters()}
    return [parameter for parameter in parameters if id(parameter) not in still]


def new_optimizer(
    model: TwoHeadedModel, moving: Sequence[nn.Parameter], settings: AdaptationSettings
) -> torch.optim.AdamW:
    """AdamW on `moving`: f at a rate of its own, and no decay of norms, embeddings and relative position tables."""
    encoder = {id(parameter) for parameter in model.encoder.parameters()}
    kept = {id(p) for module in model.modules() if isinstance(module, NOT_DECAYED) for p in module.parameters(False)}
    kept |= {id(p) for name, p in model.named_parameters() if "relative_position" in name}
    groups = []
    for in_encoder in (True, False):
        rate = settings.learning_rate * (1.0 if in_encoder else settings.reconstruction_rate_factor)
        for decays in (True, False):
            chosen = [p for p in moving if (id(p) in encoder) == in_encoder and (id(p) not in kept) == decays]
            decay = settings.weight_decay if decays else 0.0
            groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups)
