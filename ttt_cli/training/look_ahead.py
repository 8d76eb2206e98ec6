"""Training g to look ahead: a step on l_s is taken, and l_m is asked to be lower after it.

Test-time training helps as far as the gradients of l_s and l_m agree (assumption 3 of the paper's theorem). Nothing
in l_m + l_s asks for that. So once joint training is over, a step f' = f - r a / |a| with a = P grad_f l_s is tried
on images as they are or as another camera setting or old film would show them (SHIFTS), and l_m is measured at f'. Its
gradient with respect to g trains g to pull f the right way, beside l_s itself. The step has the same length however
large the gradient is, as Adam's have at test time. f and h stay as they are: the fixed model neither gains nor loses,
so that whatever comes of it is owed to test-time training.

The gradient is a product with a second derivative of l_s. The difference of two first derivatives gives it, as in DARTS
(Liu et al. 2019), since the deformable attention has no second derivative in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from ttt_cli.adaptation.memory import Snapshot
from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.datasets.low_light import low_light
from ttt_cli.datasets.old_film import Emulsion, old_film
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.training.objectives import TrainingObjective
from ttt_cli.training.recipe import LookAheadSettings
from ttt_cli.training.stills import Still


class Ahead(NamedTuple):
    """l_s and l_m on the shifted images, l_m after the step tried, and the gradients with respect to g."""

    reconstruction: float
    before: float
    after: float
    reconstruction_gradient: list[Tensor]
    ahead_gradient: list[Tensor]


class LookAhead:
    """Trains g; keeps its optimizer and the running scale P of the gradient of l_s with respect to f."""

    def __init__(self, model: TwoHeadedModel, settings: LookAheadSettings, reconstruction_weight: float) -> None:
        self.model = model
        self.settings = settings
        self.reconstruction_weight = reconstruction_weight
        self.encoder: list[Tensor] = list(model.encoder.parameters())
        self.reconstruction_head = list(model.reconstruction_head.parameters())
        self.square = [torch.zeros_like(parameter) for parameter in self.encoder]
        self.optimizer = torch.optim.AdamW(self.reconstruction_head, lr=settings.learning_rate, weight_decay=0.0)
        self.count = 0

    def step(
        self,
        objective: TrainingObjective,
        images: Tensor,
        batch: list[Still],
        reconstruction: ReconstructionSettings,
        generator: Generator,
    ) -> Ahead:
        """One step of g's optimizer. images: of `batch`, before the shift, RGB in 0..255, (B, 3, H, W)."""
        settings = self.settings
        shifted = objective.preprocess(shift(images, settings, generator))
        masks = generator.get_state()

        def reconstruct() -> Tensor:
            generator.set_state(masks)
            return reconstruction_loss(self.model, shifted, reconstruction, generator)

        def main_loss() -> Tensor:
            loss: Tensor = objective(self.model, shifted, batch)
            return loss

        ahead = self.look(reconstruct, main_loss)
        gradients = zip(ahead.reconstruction_gradient, ahead.ahead_gradient, strict=True)
        for parameter, (own, looked) in zip(self.reconstruction_head, gradients, strict=True):
            parameter.grad = self.reconstruction_weight * own + settings.weight * looked
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * (1 + math.cos(math.pi * self.count / (settings.steps + 1))) / 2
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return ahead

    def look(self, reconstruct: Callable[[], Tensor], main_loss: Callable[[], Tensor]) -> Ahead:
        """Tries the step; the weights are as before when it returns. reconstruct: l_s, the same masks each time."""
        start = Snapshot(self.encoder)

        def gradient_of_reconstruction(parameters: list[Tensor]) -> tuple[float, list[Tensor]]:
            loss = reconstruct()
            # The heads' last layers use only some of their parameters, and g none of the class embedding's.
            return float(loss.detach()), list(
                torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            )

        with torch.no_grad():
            before = float(main_loss())
        loss, own = gradient_of_reconstruction([*self.encoder, *self.reconstruction_head])
        own_encoder, own_head = own[: len(self.encoder)], own[len(self.encoder) :]
        scale = self._update_scale(own_encoder)
        scaled = _product(scale, own_encoder)
        size = sum(part.numel() for part in self.encoder) ** 0.5
        squared_length = _inner(scaled, scaled)
        rate = self.settings.inner_rate * size / squared_length**0.5
        with torch.no_grad():
            torch._foreach_add_(self.encoder, scaled, alpha=-rate)
        after = main_loss()
        wanted = list(torch.autograd.grad(after, self.encoder))
        start.restore()

        # What lies along the step cannot change it, since its length is fixed.
        along = _inner(scaled, wanted) / squared_length
        direction = _product(scale, list(torch._foreach_sub(wanted, torch._foreach_mul(scaled, along))))
        nudge = 1e-4 * size / _inner(direction, direction) ** 0.5
        differences = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                torch._foreach_add_(self.encoder, direction, alpha=sign * nudge)
            differences.append(gradient_of_reconstruction(self.reconstruction_head)[1])
            start.restore()
        factor = -rate / (2 * nudge)
        looked = [(plus - minus) * factor for plus, minus in zip(*differences, strict=True)]
        return Ahead(loss, before, float(after.detach()), own_head, looked)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return {"square": self.square, "count": self.count, "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on from `state`."""
        torch._foreach_copy_(self.square, state["square"])
        self.count = state["count"]
        self.optimizer.load_state_dict(state["optimizer"])

    def _update_scale(self, gradient: list[Tensor]) -> list[Tensor]:
        """P: one over the root mean square of each parameter's gradient over recent steps, as in Adam."""
        self.count += 1
        torch._foreach_mul_(self.square, 0.95)
        torch._foreach_addcmul_(self.square, gradient, gradient, value=0.05)
        correction = 1 - 0.95**self.count
        return [1 / ((square / correction).sqrt() + 1e-6) for square in self.square]


def shift(images: Tensor, settings: LookAheadSettings, generator: Generator) -> Tensor:
    """A share of the images as they would look elsewhere: RGB in 0..255, (B, 3, H, W), the same out."""
    shown = []
    for image in images.cpu():
        chance, *draws = torch.rand(7, generator=generator).tolist()
        shown.append((SHIFTS[settings.shift](image, settings, draws) if chance < settings.shifted else image).float())
    return torch.stack(shown).to(images.device)


def sensor_shift(image: Tensor, settings: LookAheadSettings, draws: list[float]) -> Tensor:
    """An image, (3, H, W), as another camera setting would show it, by six numbers of 0..1.

    0 to `stops` stops of light are lost, each channel has up to a quarter more or less, and full scale stands for
    1500 to 24000 electrons, drawn uniformly on a log scale (see `low_light`).
    """
    stops, well, seed, *balance = draws
    gains = 0.75 + 0.5 * torch.tensor(balance).view(3, 1, 1)
    exposure = 2.0 ** (-settings.stops * stops)
    return low_light((image * gains).clamp(0, 255), int(seed * 2**31), exposure, 1500 * 16**well)


def film_shift(image: Tensor, settings: LookAheadSettings, draws: list[float]) -> Tensor:
    """An image, (3, H, W), as an old film would show it, by six numbers of 0..1 (see `old_film`)."""
    red, blue, blur, contrast, grain, seed = draws
    emulsion = Emulsion(0.25 * red, 0.1 + 0.4 * blue, 0.3 + 2 * blur, 0.8 + contrast, 2 + 14 * grain, flicker=0.15)
    return old_film(image, int(seed * 2**31), emulsion)


SHIFTS = {"sensor": sensor_shift, "film": film_shift}


def _inner(left: list[Tensor], right: list[Tensor]) -> float:
    return float(torch.stack([part.sum() for part in torch._foreach_mul(left, right)]).sum())


def _product(left: list[Tensor], right: list[Tensor]) -> list[Tensor]:
    return list(torch._foreach_mul(left, right))
