"""Takes exposure and white balance out of a frame, before anything else sees it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ttt_cli.core.pictures import PictureStatistics

LARGEST_GAIN = 8.0
"""The noise of a nearly black or even frame is not amplified further."""


def exposure_matched(image: Tensor, ordinary: PictureStatistics | None) -> Tensor:
    """The picture with each channel's mean and deviation set to those of ordinary pictures; None leaves it as it is.

    image and result: RGB, uint8 (3, H, W).
    """
    if ordinary is None:
        return image
    values = image.float()
    deviation, mean = torch.std_mean(values, dim=(-2, -1), keepdim=True, correction=0)
    wanted_mean, wanted_deviation = (
        torch.tensor(wanted).view(3, 1, 1) for wanted in (ordinary.mean, ordinary.deviation)
    )
    gain = (wanted_deviation / deviation.clamp(min=1e-3)).clamp(max=LARGEST_GAIN)
    return ((values - mean) * gain + wanted_mean).round().clamp(0, 255).to(torch.uint8)


def picture_statistics(images: Iterable[Tensor]) -> PictureStatistics:
    """The statistics of some pictures, RGB, uint8 (3, H, W): the mean over pictures of the mean and the deviation."""
    measured = torch.stack([torch.stack(torch.std_mean(image.float(), dim=(-2, -1))) for image in images])
    deviation, mean = measured.mean(dim=0).tolist()
    return PictureStatistics(tuple(mean), tuple(deviation))
