"""Changes to training pictures that another camera could have made: optics, sensor, contrast, noise, compression.

A careful practitioner trains on such pictures, so test-time training has to beat a fixed model that has seen them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from ttt_cli.datasets.blur import gaussian_blurred
from ttt_cli.datasets.corruptions.digital import compressed
from ttt_cli.datasets.low_light import low_light


@dataclass(frozen=True)
class Camera:
    """How often and how much pictures change. Each range is drawn uniformly on a log scale unless it says otherwise."""

    share: float = 0.0
    """Share of the pictures that are changed; 0 changes none."""
    each: float = 0.4
    """Chance of each kind of change to such a picture."""
    blur_pixels: tuple[float, float] = (0.5, 3.0)
    """Deviation of a Gaussian blur."""
    stops: tuple[float, float] = (-1.0, 4.0)
    """Stops of light lost, drawn uniformly; negative values are overexposed."""
    balance: float = 0.25
    """White balance: each channel of a picture with another exposure is scaled by up to this share either way."""
    electrons: tuple[float, float] = (1500.0, 24000.0)
    """Electrons at full scale, which set the noise of a picture with another exposure (see `low_light`)."""
    contrast: tuple[float, float] = (0.35, 1.4)
    """Factor of the distance from the picture's mean."""
    noise: tuple[float, float] = (3.0, 40.0)
    """Deviation of Gaussian noise, in 0..255."""
    quality: tuple[float, float] = (5.0, 70.0)
    """Quality of JPEG, 1..100."""


def seen_by_camera(image: Tensor, camera: Camera, generator: Generator) -> Tensor:
    """Changes a picture, or with a chance of 1 - share does not. image and result: RGB, uint8 (3, H, W).

    A share of 0 draws no random number.
    """
    return seen_with_seed(image, camera, draw_seed(camera, generator))


def draw_seed(camera: Camera, generator: Generator) -> int | None:
    """Draws the seed of the changes to one picture; None if none is ever changed."""
    return int(torch.randint(2**31, (), generator=generator)) if camera.share else None


def seen_with_seed(image: Tensor, camera: Camera, seed: int | None) -> Tensor:
    """What `seen_by_camera` makes of a picture when it draws this seed."""
    if seed is None:
        return image
    random = np.random.default_rng(seed)
    if random.random() >= camera.share:
        return image
    for change in CHANGES:
        if random.random() < camera.each:
            image = change(image, camera, random)
    return image


def _blurred(image: Tensor, camera: Camera, random: np.random.Generator) -> Tensor:
    return _as_bytes(gaussian_blurred(image.float(), _between(camera.blur_pixels, random)))


def _exposed(image: Tensor, camera: Camera, random: np.random.Generator) -> Tensor:
    gains = torch.from_numpy(1 + camera.balance * random.uniform(-1, 1, (3, 1, 1)))
    exposure = 2.0 ** -random.uniform(*camera.stops)
    balanced = (image * gains).clamp(0, 255)
    return low_light(balanced, int(random.integers(2**31)), exposure, _between(camera.electrons, random))


def _contrasted(image: Tensor, camera: Camera, random: np.random.Generator) -> Tensor:
    mean = image.float().mean()
    return _as_bytes(mean + (image.float() - mean) * _between(camera.contrast, random))


def _noisy(image: Tensor, camera: Camera, random: np.random.Generator) -> Tensor:
    noise = random.standard_normal(image.shape, dtype=np.float32) * _between(camera.noise, random)
    return _as_bytes(image.float() + torch.from_numpy(noise))


def _compressed(image: Tensor, camera: Camera, random: np.random.Generator) -> Tensor:
    return compressed(image, round(_between(camera.quality, random)))


CHANGES: tuple[Callable[[Tensor, Camera, np.random.Generator], Tensor], ...] = (
    _blurred,
    _exposed,
    _contrasted,
    _noisy,
    _compressed,
)
"""In the order in which light and data pass through a camera."""


def _between(limits: tuple[float, float], random: np.random.Generator) -> float:
    return float(np.exp(random.uniform(*np.log(limits))))


def _as_bytes(image: Tensor) -> Tensor:
    return image.round().clamp(0, 255).to(torch.uint8)
