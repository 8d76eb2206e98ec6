"""What ordinary pictures are like. Importing this does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ttt_cli.core.errors import UsageError

Exposure = Literal["match", "off"]
"""Whether exposure and white balance are taken out of frames (core/exposure.py)."""


@dataclass(frozen=True)
class PictureStatistics:
    """Mean and deviation of each channel of ordinary pictures, in 0..255, in the order red, green, blue."""

    mean: tuple[float, ...]
    """Mean over pictures of a picture's mean."""
    deviation: tuple[float, ...]
    """Mean over pictures of a picture's deviation."""
    mean_spread: tuple[float, ...] = (0.0, 0.0, 0.0)
    """How much the mean differs from picture to picture: its deviation over pictures."""
    log_deviation_spread: tuple[float, ...] = (0.0, 0.0, 0.0)
    """How much the logarithm of the deviation differs from picture to picture."""

    def __post_init__(self) -> None:
        channels = (self.mean, self.deviation, self.mean_spread, self.log_deviation_spread)
        if any(len(values) != 3 for values in channels) or min(self.deviation) <= 0:
            raise UsageError("statistics of pictures must be of three channels each, and deviations above 0")


IMAGENET = PictureStatistics((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Stands in for the training pictures of weights that do not record theirs."""
