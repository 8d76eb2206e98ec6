"""Fog, snow, rain, and frost on the lens. Fog and frost stay in place, snow and rain fall.

Constants are those of ImageNet-C (Hendrycks and Dietterich, 2019) where a docstring does not say otherwise; lengths are
pixels of a picture 360 pixels high, and are scaled with the picture.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ttt_cli.datasets.corruptions.crystals import crystals
from ttt_cli.datasets.corruptions.layers import (
    Size,
    as_bytes,
    as_shares,
    convolved,
    fractal,
    line_kernel,
    motion_kernel,
    normal_layer,
    random_for,
    reference_size,
    resized,
    size_of,
)

FOG_AMOUNT_AND_DECAY = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))
FOG_THINNEST = 0.3
"""Share of the densest fog that is everywhere."""
FOG_DRIFT = 0.5
"""Pixels to the right in each frame."""
FROST_PICTURE_AND_ICE = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
SNOW_DEGREES = 70
SNOW_FALLS = ((11, 4), (7, 3))
"""(down, right) in each frame, in pixels, of near and far flakes."""
RAIN_DEGREES = 80
RAIN_LIGHT = 0.8
"""What streaks and veil look like, in 0..1."""


def fog(image: Tensor, index: int, severity: int) -> Tensor:
    """Adds clouds to the picture and scales it back to its range.

    ImageNet-C makes its clouds by displacing midpoints; here they have the same spectrum, and drift by FOG_DRIFT. There
    they are 0 at their thinnest, which darkens the picture to a third and looks like smoke; here FOG_THINNEST.
    """
    shares = as_shares(image)
    amount, decay = FOG_AMOUNT_AND_DECAY[severity - 1]
    height, width = reference_size(size_of(image))
    clouds = _clouds(max(height, width), decay).roll(round(index * FOG_DRIFT), dims=1)[:height, :width]
    brightest = shares.max()
    return as_bytes((shares + amount * resized(clouds, size_of(image))) * brightest / (brightest + amount))


@functools.lru_cache(maxsize=8)
def _clouds(side: int, decay: float) -> Tensor:
    """decay: ImageNet-C's, whose square divides the amplitude with each halving of the wavelength."""
    return FOG_THINNEST + (1 - FOG_THINNEST) * fractal(side, 1 + 2 * float(np.log2(decay)), "fog")


def frost(image: Tensor, index: int, severity: int) -> Tensor:
    """Adds ice on the lens to the darkened picture. ImageNet-C adds photographs of ice, here it is drawn."""
    picture, ice = FROST_PICTURE_AND_ICE[severity - 1]
    layer = torch.stack([resized(channel, size_of(image)) for channel in crystals(reference_size(size_of(image)))])
    return as_bytes(picture * as_shares(image) + ice * layer)


@dataclass(frozen=True)
class Snow:
    """How much snow there is, and how it looks."""

    mean: float
    """Of the normal noise of which flakes are made."""
    zoom: float
    """Size of a flake in pixels."""
    threshold: float
    """Only noise above it is a flake."""
    radius: float
    """Of the motion blur of flakes."""
    deviation: float
    """Of the motion blur of flakes."""
    picture: float
    """Share of the picture that is not whitened."""


SNOW_DEVIATION = 0.3
SNOW = (
    Snow(0.1, 3, 0.5, 10, 4, 0.8),
    Snow(0.2, 2, 0.5, 12, 4, 0.7),
    Snow(0.55, 4, 0.9, 12, 8, 0.7),
    Snow(0.55, 4.5, 0.85, 12, 8, 0.65),
    Snow(0.55, 2.5, 0.85, 12, 12, 0.55),
)


def snow(image: Tensor, index: int, severity: int) -> Tensor:
    """Whitens the picture and adds two layers of falling flakes.

    ImageNet-C draws the direction for each picture; here it is SNOW_DEGREES, and each layer falls at its own speed.
    """
    shares = as_shares(image)
    kept = SNOW[severity - 1].picture
    gray = torch.einsum("c,chw->hw", torch.tensor([0.299, 0.587, 0.114]), shares)
    whitened = kept * shares + (1 - kept) * torch.maximum(shares, 1.5 * gray + 0.5)
    near = _flakes(reference_size(size_of(image)), severity)
    for layer, (down, right) in zip((near, near.flip(0, 1)), SNOW_FALLS, strict=True):
        whitened += resized(layer.roll((index * down, index * right), dims=(0, 1)), size_of(image))
    return as_bytes(whitened)


@functools.lru_cache(maxsize=8)
def _flakes(size: Size, severity: int) -> Tensor:
    kind = SNOW[severity - 1]
    coarse = (round(size[0] / kind.zoom), round(size[1] / kind.zoom))
    noise = resized(normal_layer(coarse, kind.mean, SNOW_DEVIATION, "snow"), size)
    flakes = torch.where(noise < kind.threshold, 0.0, noise.clamp(0, 1))
    return convolved(flakes[None], motion_kernel(kind.radius, kind.deviation, SNOW_DEGREES), "circular")[0]


@dataclass(frozen=True)
class Rain:
    """How hard it rains."""

    streaks: int
    """In each of the layers, for each 10,000 pixels."""
    opacity: float
    """Of a near streak, 0..1."""
    veil: float
    """Share of the light that far rain scatters, 0..1."""


RAIN = (Rain(6, 0.3, 0.08), Rain(9, 0.4, 0.14), Rain(12, 0.5, 0.2), Rain(16, 0.6, 0.28), Rain(22, 0.7, 0.36))


@dataclass(frozen=True)
class Curtain:
    """A layer of rain at one distance."""

    length: int
    """Of its streaks, in pixels."""
    opacity: float
    """Of its streaks, as a share of that of near ones."""
    fall: int
    """Pixels that it falls in a frame."""


CURTAINS = (Curtain(44, 1.0, 97), Curtain(26, 0.7, 61), Curtain(14, 0.5, 37))


def rain(image: Tensor, index: int, severity: int) -> Tensor:
    """Darkens the picture, and lays a veil and three layers of streaks over it; near ones are longer and faster.

    ImageNet-C has no rain; RAIN, CURTAINS and the constants here are our own.
    """
    kind = RAIN[severity - 1]
    veiled = as_shares(image) * (1 - kind.veil) + kind.veil * 0.5
    clear = torch.ones(size_of(image))
    for number, curtain in enumerate(CURTAINS):
        streaks = _streaks(reference_size(size_of(image)), curtain.length, kind.streaks, number)
        right = round(curtain.fall / np.tan(np.radians(RAIN_DEGREES)))
        fallen = streaks.roll((index * curtain.fall, index * right), dims=(0, 1))
        clear = clear * (1 - kind.opacity * curtain.opacity * resized(fallen, size_of(image)))
    return as_bytes(veiled * clear + RAIN_LIGHT * (1 - clear))


@functools.lru_cache(maxsize=16)
def _streaks(size: Size, length: int, density: int, number: int) -> Tensor:
    """Opacity in 0..1, (H, W), of the streaks of a layer."""
    random = random_for("rain", number)
    drops = random.random(size) < density / 10_000
    weights = random.uniform(0.4, 1, size) * drops
    kernel = line_kernel(np.hanning(length + 2)[1:-1], RAIN_DEGREES)
    layer = convolved(torch.from_numpy(weights.astype(np.float32))[None], kernel / kernel.max(), "circular")[0]
    return layer.clamp(0, 1)
