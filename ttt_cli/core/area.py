"""Rectangles within a frame. Importing this does not import torch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Area(NamedTuple):
    """A rectangle of a frame, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @staticmethod
    def parse(text: str) -> Area | None:
        """The rectangle WxH+X+Y, such as 640x480+10+0; None if the text is anything else."""
        match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})\+(\d{1,6})\+(\d{1,6})", text)
        if match is None:
            return None
        width, height, left, top = map(int, match.groups())
        return Area(top, left, height, width)

    def of(self, image: Tensor) -> Tensor:
        """The part of an image (..., H, W) inside the rectangle. It is a view: writing to it changes the image."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]
