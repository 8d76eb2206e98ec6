"""A documented, seeded simulation of film from 1895: blind to red, soft, high-contrast, grainy, flickering."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from ttt_cli.datasets.blur import gaussian_blurred

GAMMA = 2.2
GRAIN_PIXELS = 2


@dataclass(frozen=True)
class Emulsion:
    """How a film records a picture."""

    red: float = 0.05
    """Weight of red in its gray (the eye: 0.21). Green has the rest."""
    blue: float = 0.35
    """Weight of blue in its gray (the eye: 0.07)."""
    blur: float = 1.0
    """Deviation of the Gaussian blur, in pixels of a picture 360 pixels high."""
    contrast: float = 1.4
    """Factor of the distance from middle gray; clipped at black and white."""
    grain: float = 8.0
    """Deviation of the noise, in 0..255, in grains of two pixels."""
    flicker: float = 0.05
    """Deviation of the exposure from frame to frame, as a share of the exposure."""


STANDARD = Emulsion()


def old_film(image: Tensor, seed: int, emulsion: Emulsion = STANDARD) -> Tensor:
    """A picture, RGB (3, H, W) in 0..255, as the film records it: uint8 (3, H, W), all channels equal.

    Give every frame its own seed; the same seed gives the same grain and exposure.
    """
    generator = Generator().manual_seed(seed)
    share = torch.tensor([emulsion.red, 1 - emulsion.red - emulsion.blue, emulsion.blue])
    light = torch.einsum("c,chw->hw", share, (image.float() / 255) ** GAMMA)
    light = light * (1 + emulsion.flicker * torch.randn((), generator=generator)).clamp(min=0)
    value = gaussian_blurred(light[None] ** (1 / GAMMA), emulsion.blur * min(light.shape) / 360)[0]
    value = (0.5 + emulsion.contrast * (value - 0.5)).clamp(0, 1)
    height, width = value.shape
    coarse = torch.randn(1, 1, -(-height // GRAIN_PIXELS), -(-width // GRAIN_PIXELS), generator=generator)
    grain = functional.interpolate(coarse, size=(height, width), mode="nearest")[0, 0]
    value = (value * 255 + emulsion.grain * grain).clamp(0, 255).round()
    return value.to(torch.uint8).expand(3, -1, -1).contiguous()
