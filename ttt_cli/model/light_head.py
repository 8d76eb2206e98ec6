"""A small reconstruction head g: convolutions only, for maps of any number and strides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

COLORS = 3


class LightHead(nn.Module):
    """Reconstructs an image from an encoder's maps, for a fraction of the time of a Mask2Former head.

    Each map is brought to the same width and to the resolution of the finest one. Two convolutions see their sum, and
    each of its positions then holds the pixels of its cell.

    channels, strides: of each map, finest first; the strides are multiples of the first. width: channels inside.
    """

    def __init__(self, channels: Sequence[int], width: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.projections = nn.ModuleList(nn.Conv2d(of_map, width, 1) for of_map in channels)
        # Encoders differ in the size of their features, so each map is normalized before the maps are added.
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in channels)
        self.mix = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1), nn.GELU()
        )
        self.pixels = nn.Conv2d(width, COLORS * self.strides[0] ** 2, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """maps: (B, C_i, ceil(H / s_i), ceil(W / s_i)). Returns the whole image, (B, 3, H, W), where H and W are
        multiples of the first stride.
        """
        height, width = maps[0].shape[-2:]
        same_size = []
        for values, stride, project, norm in zip(maps, self.strides, self.projections, self.norms, strict=True):
            projected = norm(project(values))
            if stride != self.strides[0]:
                factor = stride // self.strides[0]
                projected = functional.interpolate(projected, scale_factor=factor, mode="bilinear")
            same_size.append(projected[..., :height, :width])
        mixed = self.mix(torch.stack(same_size).sum(dim=0))
        return functional.pixel_shuffle(self.pixels(mixed), self.strides[0])
