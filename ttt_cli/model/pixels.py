"""Pixels as networks see them: in units of ImageNet's deviation, with ImageNet's mean 0."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ttt_cli.model.encoder import PIXEL_MEAN, PIXEL_STANDARD_DEVIATION

CONSTANTS_KEPT = 32


@lru_cache(CONSTANTS_KEPT)
def on_device(values: tuple[float, ...] | tuple[int, ...], device: torch.device) -> Tensor:
    """Constants on a device, (N,), not to be changed. They are kept: the loop would wait for each copy from the CPU."""
    return torch.tensor(values, device=device)


def normalize(images: Tensor) -> Tensor:
    """Normalizes RGB images in 0..255, uint8 or float (B, 3, H, W): float32 with ImageNet's mean 0 and deviation 1."""
    mean, deviation = _statistics(images.device)
    return (images.float() - mean) / deviation


def denormalize(normalized: Tensor) -> Tensor:
    """The inverse of `normalize`: uint8 (B, 3, H, W), values out of range clipped."""
    mean, deviation = _statistics(normalized.device)
    return (normalized * deviation + mean).round().clamp(0, 255).to(torch.uint8)


def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """ImageNet's mean and deviation, (1, 3, 1, 1) each."""
    mean, deviation = (on_device(values, device).view(1, 3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STANDARD_DEVIATION))
    return mean, deviation
