"""What old films have around and between their pictures: dark borders and title cards. Both stay gray."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor

from ttt_cli.core.area import Area
from ttt_cli.core.color import lab_of
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.frame import Video

DARK, LIT, BRIGHT = 15.0, 20.0, 75.0
"""Of lightness L: ink and border are below DARK, the tones of a picture between LIT and BRIGHT, letters above."""
INK, TONES = 0.8, 0.13
"""Shares of a title card: at least so much ink, at most so many tones. Letters that fade are tones too."""
PIXEL_STRIDE = 4
"""Of rows or columns, where not each of them has to be looked at."""
FRAMES_LOOKED_AT, STRIDE = 60, 10
LONGEST_LOOK = 3000
"""Frames; a film whose title cards take longer is not cropped."""
SMALLEST_BORDER = 0.02
"""Of the side of the picture; a narrower one is left in."""
SMALLEST_AREA = 16
"""Pixels of a side; the model has nothing to see in less."""


def is_title_card(image: Tensor) -> bool:
    """Whether a frame, uint8 RGB (3, H, W), is letters on ink, or ink alone, with hardly a tone between."""
    lightness = lab_of(image[:, ::PIXEL_STRIDE, ::PIXEL_STRIDE])[0]
    ink = float((lightness < DARK).float().mean())
    tones = float(((lightness > LIT) & (lightness < BRIGHT)).float().mean())
    return ink >= INK and tones <= TONES


def picture_area(video: Video, crop: str) -> Area | None:
    """The part of the frames that has the picture; None is all of them.

    crop: "auto" finds the rows and columns that are bright in some frame that is no title card; "none"; or WxH+X+Y.
    Raises UsageError where such a rectangle is not within the frames.
    """
    if crop == "none":
        return None
    named = Area.parse(crop)
    if named is not None:
        if named.left + named.width > video.size[1] or named.top + named.height > video.size[0]:
            raise UsageError(f"crop {printable(crop)}: the frames have {video.size[1]}x{video.size[0]} pixels only")
        return named
    area = _lit_area(video)
    return None if area == (0, 0, *video.size) or min(area.height, area.width) < SMALLEST_AREA else area


def _lit_area(video: Video) -> Area:
    stride = STRIDE if video.length is None else min(STRIDE, max(1, video.length // FRAMES_LOOKED_AT))
    looked_at = islice(video.frames(), 0, LONGEST_LOOK, stride)
    pictures = (frame.image for frame in looked_at if not is_title_card(frame.image))
    rows, columns = torch.zeros(video.size[0]), torch.zeros(video.size[1])
    for image in islice(pictures, FRAMES_LOOKED_AT):
        rows = torch.maximum(rows, lab_of(image[:, :, ::PIXEL_STRIDE])[0].quantile(0.9, dim=1))
        columns = torch.maximum(columns, lab_of(image[:, ::PIXEL_STRIDE])[0].quantile(0.9, dim=0))
    (top, height), (left, width) = _span(rows), _span(columns)
    return Area(top, left, height, width)


def _span(profile: Tensor) -> tuple[int, int]:
    """The first bright place and how many there are up to the last; narrow margins count as picture."""
    bright = torch.nonzero(profile > LIT).flatten()
    if len(bright) == 0:
        return 0, len(profile)
    first, last = int(bright[0]), int(bright[-1])
    least = SMALLEST_BORDER * len(profile)
    start = first if first > least else 0
    end = last + 1 if len(profile) - last - 1 > least else len(profile)
    return start, end - start
