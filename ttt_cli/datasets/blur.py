"""A Gaussian blur."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def gaussian_blurred(values: Tensor, deviation: float) -> Tensor:
    """A Gaussian blur over the last two dimensions of (C, H, W), with the edge pixels repeated beyond the edge.

    deviation: in pixels. The kernel ends at two deviations.
    """
    radius = max(1, round(2 * deviation))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * max(deviation, 0.1) ** 2))
    kernel = kernel / kernel.sum()
    padded = functional.pad(values[:, None], (radius,) * 4, mode="replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(rows, kernel.view(1, 1, -1, 1))[:, 0]
