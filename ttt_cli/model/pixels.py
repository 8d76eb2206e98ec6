"""Pixels as networks see them: in units of ImageNet's deviation, with ImageNet's mean 0."""

from __future__ import annotations

import torch
from torch import Tensor

from ttt_cli.model.encoder import PIXEL_MEAN, PIXEL_STANDARD_DEVIATION


def normalize(images: Tensor) -> Tensor:
    """Normalizes RGB images in 0..255, uint8 or float (B, 3, H, W): float32 with ImageNet's mean 0 and deviation 1."""
    mean = torch.tensor(PIXEL_MEAN, device=images.device).view(1, 3, 1, 1)
    deviation = torch.tensor(PIXEL_STANDARD_DEVIATION, device=images.device).view(1, 3, 1, 1)
    return (images.float() - mean) / deviation


def denormalize(normalized: Tensor) -> Tensor:
    """The inverse of `normalize`: uint8 (B, 3, H, W), values out of range clipped."""
    mean = torch.tensor(PIXEL_MEAN, device=normalized.device).view(1, 3, 1, 1)
    deviation = torch.tensor(PIXEL_STANDARD_DEVIATION, device=normalized.device).view(1, 3, 1, 1)
    return (normalized * deviation + mean).round().clamp(0, 255).to(torch.uint8)
