"""The program's only patch mask.

`visible`: float32 (B, 1, H, W), 1 = shown to the network, 0 = hidden. It is also the fourth input channel.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from ttt_cli.adaptation.device import place


def random_visible(
    batch: int, size: tuple[int, int], patch_pixels: int, mask_ratio: float, generator: Generator, device: torch.device
) -> Tensor:
    """Hides the same number of patches in every image, chosen independently for each (paper, sections 3 and 4.2).

    size: (H, W) in pixels; patches at the right and lower edges may be cut off.
    mask_ratio: share of the patches to hide, in (0, 1); at least one patch is hidden and one is shown.
    generator: a CPU generator, so that the masks are the same on every device.
    Returns `visible`: (B, 1, H, W), 1 = shown.
    """
    rows, columns = math.ceil(size[0] / patch_pixels), math.ceil(size[1] / patch_pixels)
    patches = rows * columns
    shown = min(max(round(patches * (1 - mask_ratio)), 1), max(patches - 1, 1))
    order = torch.rand(batch, patches, generator=generator).argsort(dim=1)
    grid = (order < shown).float().view(batch, 1, rows, columns)
    pixels = functional.interpolate(grid, scale_factor=patch_pixels, mode="nearest")
    return place(pixels[..., : size[0], : size[1]], device)
