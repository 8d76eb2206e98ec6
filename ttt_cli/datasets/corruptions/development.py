"""Corruptions for choosing settings, none of which is in the suite that is reported.

The first four are ImageNet-C's own extra ones, with its constants (Hendrycks and Dietterich, 2019); lengths are pixels
of a picture 360 pixels high, and are scaled with the picture. The others are ours.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from ttt_cli.datasets.blur import gaussian_blurred
from ttt_cli.datasets.corruptions.layers import (
    Size,
    as_bytes,
    as_shares,
    normal_layer,
    random_for,
    reference_size,
    resized,
    scale_of,
    size_of,
)

SPECKLE_DEVIATION = (0.15, 0.2, 0.35, 0.45, 0.6)
BLUR_DEVIATION = (1, 2, 3, 4, 6)
SATURATION_FACTOR_AND_ADDED = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))
HAZE_OPACITY = (0.4, 0.5, 0.6, 0.7, 0.8)
HAZE_LIGHT = (0.82, 0.84, 0.86)
HORIZON = 0.4
"""Share of the picture's height that is above it."""
CAST = (1.0, 0.72, 0.42)
"""Light of a sodium lamp: what it leaves of red, green and blue."""
CAST_STRENGTH = (0.4, 0.7, 1.0, 1.4, 1.8)
VIGNETTE_STRENGTH = (0.5, 0.75, 1.0, 1.3, 1.6)
POSTERIZE_LEVELS = (12, 8, 6, 4, 3)
WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)


def speckle_noise(image: Tensor, index: int, severity: int) -> Tensor:
    """Adds normal noise in proportion to each value, new in every frame. As in ImageNet-C."""
    shares = as_shares(image)
    noise = random_for("speckle-noise", index).standard_normal(image.shape, dtype=np.float32)
    return as_bytes(shares * (1 + SPECKLE_DEVIATION[severity - 1] * torch.from_numpy(noise)))


def gaussian_blur(image: Tensor, index: int, severity: int) -> Tensor:
    """A Gaussian blur. As in ImageNet-C, but its pixels are those of 224 and ours those of 360."""
    deviation = BLUR_DEVIATION[severity - 1] * scale_of(size_of(image))
    return as_bytes(gaussian_blurred(as_shares(image), deviation))


def saturate(image: Tensor, index: int, severity: int) -> Tensor:
    """Lowers the saturation of HSV in the severities 1 and 2, raises it in 3 to 5.

    As in ImageNet-C, except that gray, which has no hue, stays gray; there it becomes red.
    """
    factor, added = SATURATION_FACTOR_AND_ADDED[severity - 1]
    shares = as_shares(image)
    value, darkest = shares.amax(dim=0), shares.amin(dim=0)
    saturation = (value - darkest) / value.clamp(min=1 / 255)
    wanted = torch.where(saturation > 0, (saturation * factor + added).clamp(0, 1), 0.0)
    return as_bytes(value - (value - shares) * (wanted / saturation.clamp(min=1e-6)))


def spatter(image: Tensor, index: int, severity: int) -> Tensor:
    """Drops of water (severities 1 to 3) or splashes of mud (4, 5) on the lens, where they stay.

    The noise and its thresholds are ImageNet-C's. There the relief of drops comes from an edge detector, here from the
    slope of the same noise.
    """
    color, opacity = _spatter(reference_size(size_of(image)), severity)
    opacity = resized(opacity, size_of(image))
    spots = torch.tensor(color)[:, None, None]
    return as_bytes(as_shares(image) * (1 - opacity) + spots * opacity)


SPATTER = (
    (0.65, 0.3, 4, 0.69, 0.6),
    (0.65, 0.3, 3, 0.68, 0.6),
    (0.65, 0.3, 2, 0.68, 0.5),
    (0.65, 0.3, 1, 0.65, 1.5),
    (0.67, 0.4, 1, 0.65, 1.5),
)
"""For each severity: mean and deviation of noise, deviation of its blur in pixels, threshold above which it is a spot;
then the opacity of water, or the deviation of the blur of mud."""


@functools.lru_cache(maxsize=8)
def _spatter(size: Size, severity: int) -> tuple[tuple[float, float, float], Tensor]:
    """The color of the spots, and their opacity in 0..1, (H, W)."""
    mean, deviation, blur, threshold, last = SPATTER[severity - 1]
    liquid = gaussian_blurred(normal_layer(size, mean, deviation, "spatter")[None], blur)
    spots = (liquid > threshold).float()
    if severity >= 4:
        soft = gaussian_blurred(spots, last)[0]
        return MUD, torch.where(soft < 0.8, 0.0, soft)
    slope = liquid[0] - liquid[0].roll((1, 1), dims=(0, 1))
    lit = (slope / slope.std()).clamp(0, 1)
    return WATER, last * gaussian_blurred(spots, 1)[0] * (0.35 + 0.65 * lit)


def haze(image: Tensor, index: int, severity: int) -> Tensor:
    """A smooth light veil, full down to the horizon and thinner towards the bottom. HAZE_OPACITY is our own."""
    rows = torch.linspace(0, 1, image.shape[1])
    nearness = ((rows - HORIZON) / (1 - HORIZON)).clamp(min=0)
    opacity = (HAZE_OPACITY[severity - 1] * torch.exp(-3 * nearness**2))[:, None]
    return as_bytes(as_shares(image) * (1 - opacity) + torch.tensor(HAZE_LIGHT)[:, None, None] * opacity)


def color_cast(image: Tensor, index: int, severity: int) -> Tensor:
    """The picture in the light of a sodium lamp. CAST_STRENGTH, the exponent of CAST, is our own."""
    gains = torch.tensor(CAST) ** CAST_STRENGTH[severity - 1]
    return as_bytes(as_shares(image) * gains[:, None, None])


def vignette(image: Tensor, index: int, severity: int) -> Tensor:
    """Darkens towards the corners by the fourth power of a cosine. VIGNETTE_STRENGTH, its tangent there, is our own."""
    height, width = size_of(image)
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
    tangent_squared = VIGNETTE_STRENGTH[severity - 1] ** 2 * (rows**2 + columns**2) / 2
    return as_bytes(as_shares(image) * (1 + tangent_squared) ** -2)


def posterize(image: Tensor, index: int, severity: int) -> Tensor:
    """Rounds each channel to a few levels. POSTERIZE_LEVELS is our own."""
    steps = POSTERIZE_LEVELS[severity - 1] - 1
    return as_bytes((as_shares(image) * steps).round() / steps)
