"""Finds the dark borders and title cards of old films. Both stay gray."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor

from ttt_cli.core.area import Area
from ttt_cli.core.color import lab_of
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.frame import Video

DARK, LIT, BRIGHT = 15.0, 20.0, 75.0
"""Lightness L: ink and borders are below DARK, a picture's tones between LIT and BRIGHT, letters above BRIGHT."""
INK, TONES = 0.8, 0.13
"""Shares of a title card's pixels: at least INK are ink and at most TONES are tones. Fading letters count as tones."""
PIXEL_STRIDE = 4
"""Rows or columns are subsampled by this when not all are needed."""
FRAMES_LOOKED_AT, STRIDE = 60, 10
"""The area comes from at most this many pictures, at most this many frames apart."""
LONGEST_LOOK = 3000
"""Frames searched for pictures; a film that begins with longer title cards is not cropped."""
SMALLEST_BORDER = 0.02
"""Share of the frame's side; narrower borders are not cropped."""
SMALLEST_AREA = 16
"""Pixels of a side; a smaller area is too little for the model to see."""


def is_title_card(image: Tensor) -> bool:
    """Whether a frame, uint8 RGB (3, H, W), is ink, with letters or without, and almost no tones between."""
    lightness = lab_of(image[:, ::PIXEL_STRIDE, ::PIXEL_STRIDE])[0]
    ink = float((lightness < DARK).float().mean())
    tones = float(((lightness > LIT) & (lightness < BRIGHT)).float().mean())
    return ink >= INK and tones <= TONES


def picture_area(video: Video, crop: str) -> Area | None:
    """The part of the frames that holds the picture; None is the whole frame.

    crop: "auto" finds the rows and columns that are bright in any frame that is not a title card, and takes live input
    whole, since it cannot look ahead; "none" is the whole frame; WxH+X+Y names a rectangle. Raises UsageError if the
    rectangle is not within the frames.
    """
    if crop == "none":
        return None
    rectangle = Area.parse(crop)
    if rectangle is not None:
        if rectangle.left + rectangle.width > video.size[1] or rectangle.top + rectangle.height > video.size[0]:
            raise UsageError(f"crop {printable(crop)}: the frames have {video.size[1]}x{video.size[0]} pixels only")
        return rectangle
    if video.live:
        return None
    area = _lit_area(video)
    return None if area == (0, 0, *video.size) or min(area.height, area.width) < SMALLEST_AREA else area


def _lit_area(video: Video) -> Area:
    stride = STRIDE if video.length is None else min(STRIDE, max(1, video.length // FRAMES_LOOKED_AT))
    frames = islice(video.frames(), 0, LONGEST_LOOK, stride)
    pictures = (frame.image for frame in frames if not is_title_card(frame.image))
    rows, columns = torch.zeros(video.size[0]), torch.zeros(video.size[1])
    for image in islice(pictures, FRAMES_LOOKED_AT):
        rows = torch.maximum(rows, lab_of(image[:, :, ::PIXEL_STRIDE])[0].quantile(0.9, dim=1))
        columns = torch.maximum(columns, lab_of(image[:, ::PIXEL_STRIDE])[0].quantile(0.9, dim=0))
    (top, height), (left, width) = _span(rows), _span(columns)
    return Area(top, left, height, width)


def _span(profile: Tensor) -> tuple[int, int]:
    """Start and length of the span from the first bright entry to the last; narrow borders count as picture."""
    bright = torch.nonzero(profile > LIT).flatten()
    if len(bright) == 0:
        return 0, len(profile)
    first, last = int(bright[0]), int(bright[-1])
    least = SMALLEST_BORDER * len(profile)
    start = first if first > least else 0
    end = last + 1 if len(profile) - last - 1 > least else len(profile)
    return start, end - start
