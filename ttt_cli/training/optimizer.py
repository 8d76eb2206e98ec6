"""The optimizer of joint training, and how its learning rates rise and fall."""

from __future__ import annotations

import math

import torch
from torch import nn

from ttt_cli.model.split import SplitModel
from ttt_cli.training.objectives import TrainingObjective
from ttt_cli.training.recipe import Schedule

POLY_POWER = 0.9


def new_optimizer(model: SplitModel, objective: TrainingObjective, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW over all parameters of the model and the objective."""
    return torch.optim.AdamW(_groups(model, objective, schedule), betas=(0.9, 0.999))


def set_learning_rate(optimizer: torch.optim.Optimizer, schedule: Schedule, step: int) -> None:
    """Sets the learning rates for a step, counted from 0."""
    if step < schedule.warmup_steps:
        share = (step + 1) / schedule.warmup_steps
    else:
        done = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
        left = (1 + math.cos(math.pi * done)) / 2 if schedule.decay == "cosine" else (1 - done) ** POLY_POWER
        share = schedule.final_share + (1 - schedule.final_share) * left
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def _groups(model: SplitModel, objective: TrainingObjective, schedule: Schedule) -> list[dict[str, object]]:
    """Parameter groups: separate learning rates for encoder and heads; no weight decay on vectors and embeddings."""
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    of_mask = [] if model.mask_input is None else list(model.mask_input.parameters())
    encoder = {id(p) for p in (*model.encoder.parameters(), *of_mask)}
    groups = []
    for in_encoder in (True, False):
        for decayed in (True, False):
            parameters = [
                p
                for p in (*model.parameters(), *objective.parameters())
                if (id(p) in encoder) == in_encoder and (p.dim() > 1 and id(p) not in embeddings) == decayed
            ]
            peak = schedule.encoder_learning_rate if in_encoder else schedule.learning_rate
            decay = schedule.weight_decay if decayed else 0.0
            groups.append({"params": parameters, "peak": peak, "lr": peak, "weight_decay": decay})
    return groups
