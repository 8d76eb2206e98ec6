"""Brings unusual exposure and white balance of a frame back to the usual, before anything else sees it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ttt_cli.core.pictures import PictureStatistics

LARGEST_GAIN = 8.0
"""The noise of a nearly black or even frame is not amplified further."""
DEAD_ZONE = 0.5
"""How many spreads over ordinary pictures a frame may be away from their mean; chosen in docs/trials.md."""
SMALLEST_DEVIATION = 1e-3


def exposure_matched(image: Tensor, ordinary: PictureStatistics | None) -> Tensor:
    """The picture with each channel's mean and deviation brought to where they are on ordinary pictures.

    A channel that is there already, within DEAD_ZONE, stays as it is. ordinary: None leaves the whole picture as it is.
    image and result: RGB, uint8 (3, H, W).
    """
    if ordinary is None:
        return image
    values = image.float()
    now = _mean_and_log_deviation(values)
    usual = torch.tensor([ordinary.mean, [math.log(deviation) for deviation in ordinary.deviation]])
    away = DEAD_ZONE * torch.tensor([ordinary.mean_spread, ordinary.log_deviation_spread])
    wanted = torch.clamp(now, usual - away, usual + away)
    gain = (wanted[1] - now[1]).exp().clamp(max=LARGEST_GAIN)
    matched: Tensor = (values - now[0].view(3, 1, 1)) * gain.view(3, 1, 1) + wanted[0].view(3, 1, 1)
    return matched.round().clamp(0, 255).to(torch.uint8)


def picture_statistics(images: Iterable[Tensor]) -> PictureStatistics:
    """The statistics of some pictures, RGB, uint8 (3, H, W)."""
    means, log_deviations = torch.stack([_mean_and_log_deviation(image.float()) for image in images]).unbind(dim=1)
    return PictureStatistics(
        tuple(means.mean(dim=0).tolist()),
        tuple(log_deviations.exp().mean(dim=0).tolist()),
        tuple(means.std(dim=0, correction=0).tolist()),
        tuple(log_deviations.std(dim=0, correction=0).tolist()),
    )


def _mean_and_log_deviation(values: Tensor) -> Tensor:
    """Of each channel of a picture (3, H, W): (2, 3)."""
    deviation, mean = torch.std_mean(values, dim=(-2, -1), correction=0)
    return torch.stack([mean, deviation.clamp(min=SMALLEST_DEVIATION).log()])
