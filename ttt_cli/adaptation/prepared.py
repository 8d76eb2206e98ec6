"""Prepared models: f starts from what preparation made of it, and goes back to what was published."""

from __future__ import annotations

import torch

from ttt_cli.adaptation.memory import Snapshot
from ttt_cli.model.split import SplitModel


@torch.no_grad()
def prepared(model: SplitModel) -> Snapshot | None:
    """Gives f its prepared parameters. Returns the published ones; None if the model was not prepared."""
    if model.prepared_encoder is None:
        return None
    parameters = dict(model.encoder.named_parameters())
    published = Snapshot(parameters.values())
    for name, value in model.prepared_encoder.items():
        parameters[name].copy_(value)
    return published
