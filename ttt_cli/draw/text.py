"""Text on pictures."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
FILES = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "segoeui.ttf")
"""Fonts of Linux, Windows and macOS with the letters of European languages; Pillow's own has those of English only."""
DARK = (17, 19, 24)
"""The ground of text."""
BRIGHT = (236, 239, 244)
"""The color of text: a contrast of 16 to the ground."""
FAINT = (160, 168, 180)
"""The color of text that matters less: a contrast of 7.7."""
PANEL_OPACITY = 0.75
SMALLEST, LARGEST = 11, 40
"""Heights of letters, in pixels."""


@lru_cache(maxsize=16)
def font(size: int) -> Font:
    """The first of FILES that is on this machine, or Pillow's own."""
    for name in FILES:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def size_for(height: int, width: int) -> int:
    """The size of text that can be read when a picture of this size fills a screen."""
    return min(max(round(min(height, width) / 26), SMALLEST), LARGEST)


def line_height(size: int) -> int:
    """The height of a line of text, with the room around it."""
    return round(size * 1.6)


def length_of(text: str, size: int) -> int:
    """The length of a line of text in pixels."""
    return round(font(size).getlength(text))


def shortened(text: str, size: int, room: int) -> str:
    """The text, or as much of its beginning as fits into `room` pixels, with dots after it."""
    if length_of(text, size) <= room:
        return text
    while text and length_of(text + "...", size) > room:
        text = text[:-1]
    return text + "..." if text else ""


def write(canvas: Image.Image, text: str, left: float, middle: float, size: int, color: tuple[int, int, int]) -> None:
    """Writes a line of text on a canvas. middle: the row of the line's middle."""
    ImageDraw.Draw(canvas).text((left, middle), text, color, font(size), anchor="lm")


@lru_cache(maxsize=256)
def panel(text: str, size: int, width: int, color: tuple[int, int, int]) -> np.ndarray:
    """Text on a dark panel with a stripe of a color at its left, at most `width` wide: uint8 (h, w, 3)."""
    line = line_height(size)
    stripe = max(size // 4, 2)
    image = Image.new("RGB", (min(width, length_of(text, size) + size + stripe), line), DARK)
    ImageDraw.Draw(image).rectangle((0, 0, stripe - 1, line), color)
    write(image, text, stripe + size / 2, line / 2, size, BRIGHT)
    return np.asarray(image)
