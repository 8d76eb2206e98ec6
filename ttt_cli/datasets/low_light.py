"""A documented, seeded simulation of a night drive: less light on the sensor, and so more noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

EXPOSURE = 1 / 8
FULL_WELL_ELECTRONS = 4000
READ_NOISE_ELECTRONS = 4
GAMMA = 2.2


def low_light(
    image: Tensor, seed: int, exposure: float = EXPOSURE, full_well_electrons: float = FULL_WELL_ELECTRONS
) -> Tensor:
    """Degrades RGB (3, H, W) in 0..255: by default three stops less light, shot noise and read noise, no gain.

    exposure: share of the light that is left. full_well_electrons: electrons at full scale; fewer electrons make more
    noise. Returns uint8 (3, H, W).

    Pixels are converted to linear light (gamma 2.2), scaled by the exposure, counted as electrons (Poisson, independent
    for every pixel and channel), read out with Gaussian noise, and converted back to 8 bits. Give every frame its own
    seed; the same seed gives the same noise.
    """
    random = np.random.default_rng(seed)
    linear = (image.double().numpy() / 255.0) ** GAMMA
    electrons = random.poisson(linear * (exposure * full_well_electrons)).astype(np.float64)
    electrons += random.normal(0.0, READ_NOISE_ELECTRONS, electrons.shape)
    encoded = np.clip(electrons / full_well_electrons, 0.0, 1.0) ** (1 / GAMMA)
    return torch.from_numpy((encoded * 255).round().astype(np.uint8))
