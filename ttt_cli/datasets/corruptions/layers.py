"""What corruptions share: seeds, random layers that lie over a picture, and a blur with any kernel.

Lengths are in pixels of a picture whose shortest side is REFERENCE_SIDE pixels, and are scaled with the picture, so
that a corruption looks the same at every size.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

REFERENCE_SIDE = 360

Size = tuple[int, int]
"""(height, width) in pixels."""


def as_shares(image: Tensor) -> Tensor:
    """A picture in 0..255 as float32 in 0..1."""
    return image.float() / 255


def as_bytes(shares: Tensor) -> Tensor:
    """A picture in 0..1 as uint8 in 0..255; values outside are clipped."""
    return (shares * 255).round().clamp(0, 255).to(torch.uint8)


def size_of(image: Tensor) -> Size:
    """(height, width) of (..., H, W)."""
    return image.shape[-2], image.shape[-1]


def scale_of(size: Size) -> float:
    """Pixels of a picture of this size for one pixel of the reference."""
    return min(size) / REFERENCE_SIDE


def reference_size(size: Size) -> Size:
    """The size of the reference picture with this shape."""
    return round(size[0] / scale_of(size)), round(size[1] / scale_of(size))


def random_for(name: str, index: int = 0) -> np.random.Generator:
    """The random numbers of a corruption, other ones for every index; without an index, the same in all frames."""
    return np.random.default_rng([zlib.crc32(name.encode()), index])


def resized(layer: Tensor, size: Size) -> Tensor:
    """A layer (H, W) scaled to another size."""
    if size_of(layer) == size:
        return layer
    return functional.interpolate(layer[None, None], size=size, mode="bilinear", antialias=True)[0, 0]


def normal_layer(size: Size, mean: float, deviation: float, name: str) -> Tensor:
    """Normal noise of this size, (H, W), seeded by `name`."""
    return torch.from_numpy(random_for(name).normal(mean, deviation, size).astype(np.float32))


def fractal(side: int, exponent: float, name: str) -> Tensor:
    """Clouds in 0..1, (side, side), whose right edge continues at the left one and whose bottom at the top.

    exponent: of the frequency, by which amplitudes fall; a larger one makes smoother clouds. Seeded by `name`.
    """
    frequencies = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None])
    frequencies[0, 0] = math.inf
    spectrum = torch.fft.rfft2(normal_layer((side, side), 0, 1, name))
    clouds: Tensor = torch.fft.irfft2(spectrum / frequencies**exponent, s=(side, side))
    return (clouds - clouds.min()) / (clouds.max() - clouds.min())


def convolved(values: Tensor, kernel: Tensor, beyond: str = "replicate") -> Tensor:
    """Convolves each channel of (C, H, W) with a kernel (K, K) of odd size, by Fourier transforms.

    beyond: what is beyond the edge, "replicate" or "circular".
    """
    radius = kernel.shape[-1] // 2
    height, width = size_of(values)
    padded = functional.pad(values[None], (radius,) * 4, mode=beyond)[0]
    shape = size_of(padded)
    product = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, s=shape)
    result: Tensor = torch.fft.irfft2(product, s=shape)
    return result[:, 2 * radius : 2 * radius + height, 2 * radius : 2 * radius + width]


def line_kernel(weights: np.ndarray, degrees: float) -> Tensor:
    """A kernel that smears along a line, its center of mass in the middle, with the sum 1.

    weights: one for each pixel along the line. degrees: direction of the line, from the right towards the bottom.
    """
    weights = weights / weights.sum()
    along = np.arange(len(weights)) - (weights * np.arange(len(weights))).sum()
    radius = math.ceil(np.abs(along).max()) + 1
    rows = radius + along * math.sin(math.radians(degrees))
    columns = radius + along * math.cos(math.radians(degrees))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    row, column = np.floor(rows).astype(int), np.floor(columns).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - (rows - row)) * np.abs(1 - right - (columns - column))
            np.add.at(kernel, (row + down, column + right), weights * share)
    return torch.from_numpy(kernel.astype(np.float32))


def motion_kernel(radius: float, deviation: float, degrees: float) -> Tensor:
    """The kernel of ImageNet-C's motion blur: half of a Gaussian, 2 radius + 1 pixels long. Arguments in pixels.

    There it begins at the pixel itself, which moves the picture. Here it is centered, so that labels stay right.
    """
    offsets = np.arange(round(2 * radius) + 1)
    return line_kernel(np.exp(-(offsets**2) / (2 * deviation**2)), degrees)
