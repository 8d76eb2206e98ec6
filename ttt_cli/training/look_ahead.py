"""Joint training that looks ahead: a step on l_s is taken, and l_m is asked to be lower after it.

Test-time training helps as far as the gradients of l_s and l_m agree (assumption 3 of the paper's theorem). Nothing
in l_m + l_s asks for that. Here a step f' = f - r P grad l_s is tried on images from another sensor setting than the
training images (darker, noisier, another white balance), and l_m is measured at f'. Its gradient with respect to
that step, -r d/d(f, g) <grad_f l_s, P grad_f' l_m>, is added to the gradients of f and g.

It is a product with the second derivative of l_s. The difference of two first derivatives gives it, as in DARTS (Liu et
al. 2019), since the deformable attention has no second derivative in PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from ttt_cli.datasets.low_light import low_light
from ttt_cli.memory import Snapshot
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.reconstruction import ReconstructionSettings, reconstruction_loss
from ttt_cli.training.losses import MainLoss
from ttt_cli.training.stills import Still


@dataclass(frozen=True)
class LookAheadSettings:
    """When and how far joint training looks ahead.

    last_steps: it does so in the last steps of the schedule, as many as stand here; 0 leaves it out.
    batch: images of the training batch that are used for it.
    inner_rate: r above, the length of the step tried, in units of Adam's normalised gradient.
    weight: factor of the look-ahead gradient beside those of l_m and l_s.
    stops: the images lose 0 to this many stops of light.
    """

    last_steps: int = 0
    batch: int = 2
    inner_rate: float = 1e-3
    weight: float = 1.0
    stops: float = 4.0


class LookAhead:
    """Adds the look-ahead gradient to the parameters' `.grad`; keeps the running scale P of l_s's gradient."""

    def __init__(self, model: TwoHeadedModel, settings: LookAheadSettings) -> None:
        self.model = model
        self.settings = settings
        self.encoder: list[Tensor] = list(model.encoder.parameters())
        self.reconstruction_head: list[Tensor] = list(model.reconstruction_head.parameters())
        self.square = [torch.zeros_like(parameter) for parameter in self.encoder]
        self.count = 0

    def add_gradients(
        self,
        main_loss: MainLoss,
        images: Tensor,
        batch: list[Still],
        reconstruction: ReconstructionSettings,
        generator: Generator,
    ) -> tuple[float, float]:
        """Returns l_m before and after the step tried; the weights are as before when it returns.

        images: the training images of `batch`, RGB in 0..255, (B, 3, H, W), before the sensor shift.
        """
        settings = self.settings
        shifted = sensor_shift(images, settings, generator)
        masks = generator.get_state()
        start = Snapshot(self.encoder)

        def gradient_of_reconstruction(parameters: list[Tensor]) -> list[Tensor]:
            generator.set_state(masks)
            loss = reconstruction_loss(self.model, shifted, reconstruction, generator)
            return list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))

        def main() -> Tensor:
            loss: Tensor = main_loss(self.model.segment(self.model.encode(shifted)), batch)
            return loss

        with torch.no_grad():
            before = float(main())
        own = gradient_of_reconstruction(self.encoder)
        scale = self._update_scale(own)
        with torch.no_grad():
            torch._foreach_add_(self.encoder, _product(scale, own), alpha=-settings.inner_rate)
        after = main()
        wanted = list(torch.autograd.grad(after, self.encoder))
        start.restore()

        direction = _product(scale, wanted)
        length = float(torch.stack([part.square().sum() for part in direction]).sum().sqrt())
        nudge = 1e-4 * sum(part.numel() for part in direction) ** 0.5 / length
        moving = self.encoder + self.reconstruction_head
        differences = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                torch._foreach_add_(self.encoder, direction, alpha=sign * nudge)
            differences.append(gradient_of_reconstruction(moving))
            start.restore()
        factor = -settings.weight * settings.inner_rate / (2 * nudge)
        for parameter, plus, minus in zip(moving, *differences, strict=True):
            gradient = (plus - minus) * factor
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return before, float(after.detach())

    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return {"square": self.square, "count": self.count}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on from `state`."""
        torch._foreach_copy_(self.square, state["square"])
        self.count = state["count"]

    def _update_scale(self, gradient: list[Tensor]) -> list[Tensor]:
        """P: one over the root mean square of each parameter's gradient over recent steps, as in Adam."""
        self.count += 1
        torch._foreach_mul_(self.square, 0.95)
        torch._foreach_addcmul_(self.square, gradient, gradient, value=0.05)
        correction = 1 - 0.95**self.count
        return [1 / ((square / correction).sqrt() + 1e-6) for square in self.square]


def sensor_shift(images: Tensor, settings: LookAheadSettings, generator: Generator) -> Tensor:
    """Another exposure, white balance and noise for every image: RGB in 0..255, (B, 3, H, W), float32, the same out.

    0 to `stops` stops of light are lost, each channel has up to a quarter more or less, and full scale stands for
    1500 to 24000 electrons, drawn uniformly on a log scale (see `low_light`).
    """
    shifted = []
    for image in images.cpu():
        stops, well, seed, *balance = torch.rand(6, generator=generator).tolist()
        gains = 0.75 + 0.5 * torch.tensor(balance).view(3, 1, 1)
        exposure = 2.0 ** (-settings.stops * stops)
        shifted.append(low_light((image * gains).clamp(0, 255), int(seed * 2**31), exposure, 1500 * 16**well))
    return torch.stack(shifted).float().to(images.device)


def _product(left: list[Tensor], right: list[Tensor]) -> list[Tensor]:
    return list(torch._foreach_mul(left, right))
