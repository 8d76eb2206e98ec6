"""Look-ahead training of g: g learns to make a step on l_s lower l_m.

Test-time training helps only as far as the gradients of l_s and l_m agree (assumption 3 of the paper's theorem).
Minimizing l_m + l_s does not ensure that. So after joint training, a trial step f' = f - r a / |a|, a = P grad_f l_s,
is taken and l_m is measured at f'. The images are unchanged, or changed to look as another camera setting or an old
film would show them (SHIFTS). The gradient of l_m at f' with respect to g, together with that of l_s, trains g to pull
f the right way. The step has the same length however large the gradient is, as Adam's steps have at test time. f and h
do not change, so the fixed model stays the same and any gain comes from test-time training.

The gradient is a product with a second derivative of l_s. It is computed as the difference of two first derivatives, as
in DARTS (Liu et al. 2019), because deformable attention has no second derivative in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from ttt_cli.adaptation.memory import Snapshot
from ttt_cli.datasets.low_light import low_light
from ttt_cli.datasets.old_film import Emulsion, old_film
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel
from ttt_cli.training.objectives import TrainingObjective
from ttt_cli.training.parts import Part, draw_visible_of_batch, reconstruction_of_part, terms_of_batch
from ttt_cli.training.processes import ALONE, WHOLE, Processes, Share
from ttt_cli.training.recipe import LookAheadSettings


class Ahead(NamedTuple):
    """Losses on the shifted images before and after the trial step, and gradients with respect to g."""

    reconstruction: float
    """l_s before the step."""
    before: float
    """l_m before the step."""
    after: float
    """l_m after the step."""
    reconstruction_gradient: list[Tensor]
    """Gradient of l_s before the step."""
    ahead_gradient: list[Tensor]
    """Gradient of l_m after the step."""


class LookAhead:
    """Trains g. Holds its optimizer and the running scale P of the gradient of l_s with respect to f."""

    def __init__(
        self,
        model: SplitModel,
        settings: LookAheadSettings,
        reconstruction_weight: float,
        processes: Processes = ALONE,
    ) -> None:
        self.model = model
        self.settings = settings
        self.processes = processes
        self.reconstruction_weight = reconstruction_weight
        self.encoder: list[Tensor] = list(model.encoder.parameters())
        assert model.reconstruction_head is not None, "it is g that is trained"
        self.reconstruction_head: list[Tensor] = list(model.reconstruction_head.parameters())
        self.square = [torch.zeros_like(parameter) for parameter in self.encoder]
        self.optimizer = torch.optim.AdamW(self.reconstruction_head, lr=settings.learning_rate, weight_decay=0.0)
        self.count = 0

    def step(
        self,
        objective: TrainingObjective,
        images: Tensor,
        part: Part,
        reconstruction: ReconstructionSettings,
        generator: Generator,
    ) -> Ahead:
        """One step of g's optimizer. images: those of `part`, not yet shifted, RGB in 0..255, (B, 3, H, W)."""
        settings = self.settings
        shifted = objective.preprocess(shift(images, settings, generator, part.share))
        visible = draw_visible_of_batch(shifted, part.share, reconstruction, generator)

        def reconstruct() -> Tensor:
            return reconstruction_of_part(self.model, shifted, visible, part.share, reconstruction)

        def main_loss() -> Tensor:
            return objective.loss(terms_of_batch([objective(self.model, shifted, part)], self.processes))

        ahead = self.look(reconstruct, main_loss)
        gradients = zip(ahead.reconstruction_gradient, ahead.ahead_gradient, strict=True)
        for parameter, (of_reconstruction, of_ahead) in zip(self.reconstruction_head, gradients, strict=True):
            parameter.grad = self.reconstruction_weight * of_reconstruction + settings.weight * of_ahead
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * (1 + math.cos(math.pi * self.count / (settings.steps + 1))) / 2
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return ahead

    def look(self, reconstruct: Callable[[], Tensor], main_loss: Callable[[], Tensor]) -> Ahead:
        """Takes the trial step and undoes it.

        reconstruct: what this process adds to l_s, with the same masks in every call. main_loss: l_m of the batch.
        """
        start = Snapshot(self.encoder)

        def gradient_of_reconstruction(parameters: list[Tensor]) -> tuple[float, list[Tensor]]:
            loss = reconstruct()
            # The heads' last layers use only some of their parameters, and g does not use the class embedding.
            gradient = list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))
            self.processes.sum_each(gradient)
            return float(self.processes.sum(loss)), gradient

        with torch.no_grad():
            before = float(main_loss())
        loss, gradient = gradient_of_reconstruction([*self.encoder, *self.reconstruction_head])
        encoder_gradient, head_gradient = gradient[: len(self.encoder)], gradient[len(self.encoder) :]
        scale = self._update_scale(encoder_gradient)
        scaled = _product(scale, encoder_gradient)
        size = sum(part.numel() for part in self.encoder) ** 0.5
        squared_length = _inner(scaled, scaled)
        rate = self.settings.inner_rate * size / squared_length**0.5
        with torch.no_grad():
            torch._foreach_add_(self.encoder, scaled, alpha=-rate)
        after = main_loss()
        main_gradient = list(torch.autograd.grad(after, self.encoder))
        self.processes.sum_each(main_gradient)
        start.restore()

        # The component along the step cannot change the step, because the step's length is fixed.
        along = _inner(scaled, main_gradient) / squared_length
        direction = _product(scale, list(torch._foreach_sub(main_gradient, torch._foreach_mul(scaled, along))))
        nudge = 1e-4 * size / _inner(direction, direction) ** 0.5
        differences = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                torch._foreach_add_(self.encoder, direction, alpha=sign * nudge)
            differences.append(gradient_of_reconstruction(self.reconstruction_head)[1])
            start.restore()
        factor = -rate / (2 * nudge)
        ahead_gradient = [(plus - minus) * factor for plus, minus in zip(*differences, strict=True)]
        return Ahead(loss, before, float(after.detach()), head_gradient, ahead_gradient)

    def state(self) -> dict[str, Any]:
        """The state that a checkpoint saves."""
        return {"square": self.square, "count": self.count, "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores `state`."""
        torch._foreach_copy_(self.square, state["square"])
        self.count = state["count"]
        self.optimizer.load_state_dict(state["optimizer"])

    def _update_scale(self, gradient: list[Tensor]) -> list[Tensor]:
        """P: the inverse root mean square of each parameter's gradient over recent steps, as in Adam."""
        self.count += 1
        torch._foreach_mul_(self.square, 0.95)
        torch._foreach_addcmul_(self.square, gradient, gradient, value=0.05)
        correction = 1 - 0.95**self.count
        return [1 / ((square / correction).sqrt() + 1e-6) for square in self.square]


def shift(images: Tensor, settings: LookAheadSettings, generator: Generator, share: Share = WHOLE) -> Tensor:
    """Changes some of the images by one of SHIFTS. images: RGB in 0..255, (B, 3, H, W); returns the same shape.

    share: which images of a batch they are.
    """
    shown = []
    numbers = share.of(torch.rand(len(images) * share.count, 7, generator=generator).tolist())
    for image, (chance, *draws) in zip(images.cpu(), numbers, strict=True):
        shown.append((SHIFTS[settings.shift](image, settings, draws) if chance < settings.shifted else image).float())
    return torch.stack(shown).to(images.device)


def sensor_shift(image: Tensor, settings: LookAheadSettings, draws: list[float]) -> Tensor:
    """An image, (3, H, W), as another camera setting would show it. draws: six random numbers in 0..1.

    0 to `stops` stops of light are lost, each channel is scaled by up to 25 % either way, and full scale stands for
    1500 to 24000 electrons, drawn uniformly on a log scale (see `low_light`).
    """
    stops, well, seed, *balance = draws
    gains = 0.75 + 0.5 * torch.tensor(balance).view(3, 1, 1)
    exposure = 2.0 ** (-settings.stops * stops)
    return low_light((image * gains).clamp(0, 255), int(seed * 2**31), exposure, 1500 * 16**well)


def film_shift(image: Tensor, settings: LookAheadSettings, draws: list[float]) -> Tensor:
    """An image, (3, H, W), as an old film would show it (see `old_film`). draws: six random numbers in 0..1."""
    red, blue, blur, contrast, grain, seed = draws
    emulsion = Emulsion(0.25 * red, 0.1 + 0.4 * blue, 0.3 + 2 * blur, 0.8 + contrast, 2 + 14 * grain, flicker=0.15)
    return old_film(image, int(seed * 2**31), emulsion)


SHIFTS = {"sensor": sensor_shift, "film": film_shift}


def _inner(left: list[Tensor], right: list[Tensor]) -> float:
    return float(torch.stack([part.sum() for part in torch._foreach_mul(left, right)]).sum())


def _product(left: list[Tensor], right: list[Tensor]) -> list[Tensor]:
    return list(torch._foreach_mul(left, right))
