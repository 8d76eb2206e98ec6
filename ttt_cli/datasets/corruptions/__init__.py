"""Corruptions of pictures, each in severities 1 to 5, in two groups that have nothing in common.

To add one, write a function in a module here and add a line to SUITE or DEVELOPMENT.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ttt_cli.datasets.corruptions import blur, development, digital, noise, weather

Corruption = Callable[[Tensor, int, int], Tensor]
"""(image, index, severity) to the corrupted image. Both images are uint8 RGB, (3, H, W).

index: the frame's number, from 0. severity: 1 to 5. The same arguments give the same result.
"""

SEVERITIES = range(1, 6)

SUITE: dict[str, Corruption] = {
    "gaussian-noise": noise.gaussian_noise,
    "shot-noise": noise.shot_noise,
    "impulse-noise": noise.impulse_noise,
    "defocus-blur": blur.defocus_blur,
    "motion-blur": blur.motion_blur,
    "glass-blur": blur.glass_blur,
    "zoom-blur": blur.zoom_blur,
    "snow": weather.snow,
    "rain": weather.rain,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "pixelate": digital.pixelate,
    "jpeg": digital.jpeg,
}
"""For reporting. No setting may be chosen on them."""

DEVELOPMENT: dict[str, Corruption] = {
    "speckle-noise": development.speckle_noise,
    "gaussian-blur": development.gaussian_blur,
    "spatter": development.spatter,
    "saturate": development.saturate,
    "haze": development.haze,
    "color-cast": development.color_cast,
    "vignette": development.vignette,
    "posterize": development.posterize,
}
"""For choosing settings, and for that only."""

CORRUPTIONS = {**SUITE, **DEVELOPMENT}
