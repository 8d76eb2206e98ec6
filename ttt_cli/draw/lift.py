"""Brightens dark frames for the eye. Only what is drawn is changed, nothing that a model sees."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ttt_cli.core.resumable import Resumable

DARK, WANTED = 0.22, 0.36
"""Frames whose mean value is below DARK, of 1, are brought to about WANTED."""
STRONGEST = 0.35
"""The smallest exponent: in the darkest frames little but noise could be seen."""
SHARE = 0.1
"""Of the newest frame in the exponent, so that brightness does not flicker."""
PIXEL_STRIDE = 8
"""The mean is taken over every 8th row and column."""


class Lift(Resumable):
    """Raises the values of one video to a power that follows it slowly."""

    varying = ("exponent",)

    def __init__(self) -> None:
        self.exponent: float | None = None
        """Below 1 if frames are being brightened; None before the first frame."""

    def lifted(self, image: Tensor) -> Tensor:
        """The next frame, uint8 RGB (3, H, W), brightened if it is dark."""
        mean = max(float(image[:, ::PIXEL_STRIDE, ::PIXEL_STRIDE].float().mean()) / 255, 1 / 255)
        now = max(math.log(WANTED) / math.log(mean), STRONGEST) if mean < DARK else 1.0
        self.exponent = now if self.exponent is None else (1 - SHARE) * self.exponent + SHARE * now
        if self.exponent > 0.99:
            return image
        values = torch.arange(256) / 255
        return (values**self.exponent * 255).round().to(torch.uint8)[image.int()]
