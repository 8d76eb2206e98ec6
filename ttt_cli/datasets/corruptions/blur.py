"""Blur of lens, motion, patterned glass and zoom, with the constants of ImageNet-C (Hendrycks and Dietterich, 2019).

ImageNet-C states lengths in pixels of a picture of 224 pixels. Here the same numbers are pixels at 360, the size that
`street` sees, and are scaled with the picture: a blur is a little smaller, next to what is in the picture, than there.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ttt_cli.datasets.blur import gaussian_blurred
from ttt_cli.datasets.corruptions.layers import (
    Size,
    as_bytes,
    as_shares,
    convolved,
    motion_kernel,
    random_for,
    scale_of,
    size_of,
)

DEFOCUS_RADIUS = (3, 4, 6, 8, 10)
MOTION_RADIUS_AND_DEVIATION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
MOTION_DEGREES = 20
GLASS_DEVIATION_REACH_AND_ROUNDS = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
ZOOM_END_AND_STEP = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))


def defocus_blur(image: Tensor, index: int, severity: int) -> Tensor:
    """Spreads each pixel over a disk, as a lens out of focus does.

    ImageNet-C smooths the disk's edge by a small Gaussian; here the edge's pixels have the share that is inside.
    """
    radius = DEFOCUS_RADIUS[severity - 1] * scale_of(size_of(image))
    reach = math.ceil(radius) + 1
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    disk = (radius + 0.5 - torch.hypot(offsets[:, None], offsets[None])).clamp(0, 1)
    return as_bytes(convolved(as_shares(image), disk / disk.sum()))


def motion_blur(image: Tensor, index: int, severity: int) -> Tensor:
    """Smears the picture along a line.

    ImageNet-C draws the direction for each picture, up to 45 degrees from level; a video keeps one, MOTION_DEGREES.
    """
    scale = scale_of(size_of(image))
    radius, deviation = MOTION_RADIUS_AND_DEVIATION[severity - 1]
    return as_bytes(convolved(as_shares(image), motion_kernel(radius * scale, deviation * scale, MOTION_DEGREES)))


def glass_blur(image: Tensor, index: int, severity: int) -> Tensor:
    """Shows the picture through patterned glass, which stays where it is: blurs, displaces pixels, blurs again.

    ImageNet-C swaps each pixel with a neighbor, one after the other, several rounds; here each takes the value of a
    random neighbor as often, all at once.
    """
    size = size_of(image)
    deviation, reach, rounds = GLASS_DEVIATION_REACH_AND_ROUNDS[severity - 1]
    deviation *= scale_of(size)
    blurred = gaussian_blurred(as_shares(image), deviation)
    sources = _glass(size, max(1, round(reach * scale_of(size))), rounds)
    displaced = blurred.flatten(1)[:, sources].view_as(blurred)
    return as_bytes(gaussian_blurred(displaced, deviation))


@functools.lru_cache(maxsize=8)
def _glass(size: Size, reach: int, rounds: int) -> Tensor:
    """Which pixel is seen at each pixel: positions in the flattened picture, int64 (H W)."""
    random = random_for("glass-blur")
    rows, columns = np.indices(size)
    for _ in range(rounds):
        down, right = random.integers(-reach, reach + 1, (2, *size))
        from_row = (np.indices(size)[0] + down).clip(0, size[0] - 1)
        from_column = (np.indices(size)[1] + right).clip(0, size[1] - 1)
        rows, columns = rows[from_row, from_column], columns[from_row, from_column]
    return torch.from_numpy(np.ravel_multi_index((rows, columns), size).ravel())


def zoom_blur(image: Tensor, index: int, severity: int) -> Tensor:
    """The mean of the picture and of enlarged copies, as when a lens zooms in. As in ImageNet-C."""
    shares = as_shares(image)
    height, width = size_of(image)
    factors = np.arange(1, *ZOOM_END_AND_STEP[severity - 1])
    total = shares.clone()
    for factor in factors:
        part = math.ceil(height / factor), math.ceil(width / factor)
        top, left = (height - part[0]) // 2, (width - part[1]) // 2
        center = shares[None, :, top : top + part[0], left : left + part[1]]
        total += functional.interpolate(center, size=(height, width), mode="bilinear")[0]
    return as_bytes(total / (len(factors) + 1))
