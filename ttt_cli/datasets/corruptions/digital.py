"""Brightness, contrast, pixels and compression, with the constants of ImageNet-C (Hendrycks and Dietterich, 2019)."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ttt_cli.datasets.corruptions.layers import as_bytes, as_shares, size_of

BRIGHTNESS_ADDED = (0.1, 0.2, 0.3, 0.4, 0.5)
CONTRAST_FACTOR = (0.4, 0.3, 0.2, 0.1, 0.05)
PIXELATE_FACTOR = (0.6, 0.5, 0.4, 0.3, 0.25)
JPEG_QUALITY = (25, 18, 15, 10, 7)


def brightness(image: Tensor, index: int, severity: int) -> Tensor:
    """Adds to the value of HSV and leaves hue and saturation. As in ImageNet-C."""
    shares = as_shares(image)
    value = shares.amax(dim=0)
    brighter = (value + BRIGHTNESS_ADDED[severity - 1]).clamp(max=1)
    return as_bytes(torch.where(value > 0, shares * (brighter / value.clamp(min=1 / 255)), brighter))


def contrast(image: Tensor, index: int, severity: int) -> Tensor:
    """Brings each channel towards its mean over the picture. As in ImageNet-C."""
    shares = as_shares(image)
    mean = shares.mean(dim=(1, 2), keepdim=True)
    return as_bytes(mean + (shares - mean) * CONTRAST_FACTOR[severity - 1])


def pixelate(image: Tensor, index: int, severity: int) -> Tensor:
    """Shrinks the picture by a factor, and enlarges it to squares.

    The factor is ImageNet-C's at any size, so at a size above 224 pixels the squares are smaller next to the picture.
    """
    height, width = size_of(image)
    factor = PIXELATE_FACTOR[severity - 1]
    few = (max(1, int(width * factor)), max(1, int(height * factor)))
    small = _to_pillow(image).resize(few, Image.Resampling.BOX)
    return _from_pillow(small.resize((width, height), Image.Resampling.NEAREST))


def jpeg(image: Tensor, index: int, severity: int) -> Tensor:
    """Compresses the frame as a JPEG. As in ImageNet-C."""
    return compressed(image, JPEG_QUALITY[severity - 1])


def compressed(image: Tensor, quality: int) -> Tensor:
    """A picture, uint8 RGB (3, H, W), as a JPEG of this quality, 1 to 100, shows it."""
    file = io.BytesIO()
    _to_pillow(image).save(file, "JPEG", quality=quality)
    return _from_pillow(Image.open(file))


def _to_pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def _from_pillow(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
