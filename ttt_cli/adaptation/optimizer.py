"""The optimizer of test-time training: learning rates, weight decay, and recovery from bad steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ttt_cli.adaptation.device import Compute
from ttt_cli.adaptation.memory import Snapshot
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.model.split import SplitModel

NORMALIZATION = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
NOT_DECAYED = (*NORMALIZATION, nn.Embedding)


class GuardedOptimizer:
    """AdamW that clips gradients, scales losses in half precision, and undoes the last step if a loss is not finite."""

    def __init__(
        self, model: SplitModel, moving: Sequence[nn.Parameter], settings: AdaptationSettings, compute: Compute
    ) -> None:
        """moving: the parameters to train, all of them in the model."""
        self.model, self.moving, self.settings, self.compute = model, moving, settings, compute
        self.last_good = Snapshot(moving)
        self.reset()

    def reset(self) -> None:
        """Forgets all earlier steps, and takes the model's current weights as good."""
        self.last_good.capture()
        self.adamw = new_optimizer(self.model, self.moving, self.settings)
        # Gradients in half precision vanish unless the loss is scaled up; in other precisions this does nothing.
        self.scaler = torch.amp.GradScaler(self.compute.device.type, enabled=self.compute.precision == "fp16")

    def step(self, loss: Tensor) -> float | None:
        """One step down the gradient of a scalar loss. Returns the loss, or None if it or its gradient was not finite.

        In that case the last weights that gave a finite loss are restored, and AdamW's state is cleared. If an error is
        raised, the weights are what they were before. No gradients are left behind, since they take memory.
        """
        try:
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.unscale_(self.adamw)
            norm = nn.utils.clip_grad_norm_(self.moving, self.settings.gradient_norm)
            value, length = self.compute.read(loss, norm)
            if not (math.isfinite(value) and math.isfinite(length)):
                self.scaler.update()
                self.undo()
                return None
            self.last_good.capture()
            try:
                self.adamw.step()  # The scaler's own step would ask once more whether all gradients are finite.
            except (RuntimeError, MemoryError):  # Memory ran out, and some of the weights may have moved.
                self.scaler.update()
                self.undo()
                raise
            self.scaler.update()
            return value
        finally:
            self.adamw.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """All that earlier steps have left behind, for `resume`. Tensors are not copied."""
        adamw, scaler = self.adamw.state_dict(), self.scaler.state_dict()
        return {"last_good": self.last_good.values, "adamw": adamw, "scaler": scaler}

    def resume(self, state: dict[str, Any]) -> None:
        """Goes on as the optimizer did that gave the state."""
        self.last_good.values = state["last_good"]
        self.adamw.load_state_dict(state["adamw"])
        self.scaler.load_state_dict(state["scaler"])

    def undo(self) -> None:
        """Back to the weights before the last step that was taken; AdamW's state is cleared."""
        self.last_good.restore()
        self.adamw = new_optimizer(self.model, self.moving, self.settings)


def moving_parameters(
    model: SplitModel, parameters: Iterable[nn.Parameter], settings: AdaptationSettings
) -> list[nn.Parameter]:
    """Returns those of the `parameters` that move, and freezes all others of the model.

    g moves if its learning rate is above 0; of f moves what `depth` and `moves` leave of it.
    Raises UsageError if f has fewer blocks, or if nothing is left of it.
    """
    head = model.reconstruction_head
    of_head = set() if head is None else {id(parameter) for parameter in head.parameters()}
    offered = list(parameters)
    of_encoder = [parameter for parameter in offered if id(parameter) not in of_head]
    chosen = {id(parameter) for parameter in of_encoder} & _movable(model, settings)
    if of_encoder and not chosen:
        raise UsageError(
            f"method {printable(settings.method)}: depth {settings.depth} and moves {settings.moves} leave nothing "
            "of f to train; choose another depth, or all of what moves"
        )
    if settings.reconstruction_rate_factor:
        chosen |= of_head
    moving = [parameter for parameter in offered if id(parameter) in chosen]
    model.requires_grad_(False)
    for parameter in moving:
        parameter.requires_grad_(True)
    return moving


def _movable(model: SplitModel, settings: AdaptationSettings) -> set[int]:
    """The ids of the parameters of f that `depth` and `moves` allow to move."""
    blocks = len(model.blocks)
    if settings.depth > blocks:
        raise UsageError(f"depth must be at most {blocks}, the number of f's blocks, not {settings.depth}")
    parts = model.blocks[-settings.depth :] if settings.depth else [model.encoder]
    if settings.moves == "norm":
        layers = [layer for part in parts for layer in part.modules() if isinstance(layer, NORMALIZATION)]
        return {id(parameter) for layer in layers for parameter in layer.parameters(recurse=False)}
    named = [pair for part in parts for pair in part.named_parameters()]
    return {id(p) for name, p in named if settings.moves == "all" or name.split(".")[-1] == "bias"}


def new_optimizer(model: SplitModel, moving: Sequence[nn.Parameter], settings: AdaptationSettings) -> torch.optim.AdamW:
    """AdamW on `moving`, as in Mask2Former and the release: f has its own learning rate, and normalization, embeddings
    and relative position tables do not decay.
    """
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
