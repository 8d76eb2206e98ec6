"""Noise of a sensor, new in every frame, with the constants of ImageNet-C (Hendrycks and Dietterich, 2019).

Noise is for each pixel and channel, so at a size above ImageNet's 224 pixels it is finer than there.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ttt_cli.datasets.corruptions.layers import as_bytes, as_shares, random_for

GAUSSIAN_DEVIATION = (0.08, 0.12, 0.18, 0.26, 0.38)
PHOTONS = (60, 25, 12, 5, 3)
IMPULSE_SHARE = (0.03, 0.06, 0.09, 0.17, 0.27)


def gaussian_noise(image: Tensor, index: int, severity: int) -> Tensor:
    """Adds normal noise, as an amplifier does. As in ImageNet-C."""
    noise = random_for("gaussian-noise", index).standard_normal(image.shape, dtype=np.float32)
    return as_bytes(as_shares(image) + GAUSSIAN_DEVIATION[severity - 1] * torch.from_numpy(noise))


def shot_noise(image: Tensor, index: int, severity: int) -> Tensor:
    """Counts photons: PHOTONS of them are white. As in ImageNet-C."""
    photons = PHOTONS[severity - 1]
    counts = random_for("shot-noise", index).poisson(as_shares(image).numpy() * photons)
    return as_bytes(torch.from_numpy(counts.astype(np.float32) / photons))


def impulse_noise(image: Tensor, index: int, severity: int) -> Tensor:
    """Sets a share of the values to 0 or 255, each half of the time. As in ImageNet-C."""
    share = IMPULSE_SHARE[severity - 1]
    drawn = torch.from_numpy(random_for("impulse-noise", index).random(tuple(image.shape), dtype=np.float32))
    black, white = torch.zeros_like(image), torch.full_like(image, 255)
    return torch.where(drawn < share / 2, black, torch.where(drawn < share, white, image))
