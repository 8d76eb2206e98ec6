"""How pictures of any size are fed to a model that takes squares of one size, and how its outputs are put together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Tiles:
    """Overlapping squares along the longer side of a picture, as EoMT's image processor cuts them.

    A picture that is smaller than a square becomes its upper left corner; the rest is black.
    """

    image_size: tuple[int, int]
    """(H, W) of the picture."""
    side: int
    """Of a square, in pixels."""

    @property
    def upright(self) -> bool:
        """Whether the picture is higher than wide, so that the squares lie below each other."""
        return self.image_size[0] > self.image_size[1]

    @property
    def starts(self) -> list[int]:
        """Where each square begins along the longer side, in pixels."""
        longer = max(self.image_size)
        count = math.ceil(longer / self.side)
        overlap = (count * self.side - longer) / (count - 1) if count > 1 else 0.0
        return [int(number * (self.side - overlap)) for number in range(count)]

    def cut(self, images: Tensor) -> Tensor:
        """The squares of a batch, (B, C, H, W) -> (T B, C, side, side), all first squares first."""
        height, width = self.image_size
        padding = (0, max(0, self.side - width), 0, max(0, self.side - height))
        padded = functional.pad(images, padding) if any(padding) else images
        if len(self.starts) == 1:
            return padded
        return torch.cat([padded.narrow(-2 if self.upright else -1, start, self.side) for start in self.starts])

    def merge(self, squares: Tensor) -> Tensor:
        """The mean of the squares where they overlap: (T B, C, side, side) -> (B, C, H, W)."""
        height, width = self.image_size
        if len(self.starts) == 1:
            return squares[..., :height, :width]
        parts = squares.chunk(len(self.starts))
        size = (max(height, self.side), max(width, self.side))
        total = parts[0].new_zeros(*parts[0].shape[:2], *size)
        count = parts[0].new_zeros(size)
        dimension = -2 if self.upright else -1
        for start, part in zip(self.starts, parts, strict=True):
            total.narrow(dimension, start, self.side).add_(part)
            count.narrow(dimension, start, self.side).add_(1)
        return (total / count)[..., :height, :width]
