"""The strip below a comparison: how a video went so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ttt_cli.core.resumable import Resumable
from ttt_cli.draw.text import BRIGHT, DARK, FAINT, length_of, line_height, write

MOST_BARS = 240
"""A row has so many bars at most, of several frames each in a long video, so that memory does not grow with it."""
TRACK = (38, 42, 50)
FARTHEST = 0.5
"""The distance from ordinary pictures that fills its row: blur, noise and snow of severity 5 are at 0.2 to 0.7."""
ROWS = {"same in both": (94, 190, 255), "adapted": (120, 220, 130), "unlike training": (255, 160, 60)}
"""Titles and colors; the last one stays empty if it is not known what ordinary pictures are like."""


@dataclass(frozen=True)
class Moment:
    """What the strip tells of one frame."""

    agreement: float
    """The share of pixels to which both models give the same class, 0..1."""
    strangeness: float | None
    """How far f's channels are from what they are like on ordinary pictures; None if that is not known."""
    adapted: bool
    """Whether the model was adapted to this frame."""


class Timeline(Resumable):
    """Three rows over time: where both models agree, frames adapted to, and distance from ordinary pictures."""

    varying = ("_frames", "_frames_per_bar", "_bars")

    def __init__(self, width: int, text_size: int, length: int | None) -> None:
        """length: frames that are expected; None if unknown."""
        self.width, self.text_size = width, text_size
        self._line = line_height(text_size)
        self.height = len(ROWS) * self._line + self._line // 2
        self._frames = 0
        self._frames_per_bar = 1 if length is None else max(1, math.ceil(length / MOST_BARS))
        self._most = MOST_BARS if length is None else max(1, math.ceil(length / self._frames_per_bar))
        self._bars: list[list[float]] = []  # Of each, how many frames it has, and the sums of three values in 0..1.

    def draw(self, moment: Moment) -> np.ndarray:
        """The strip up to the next frame, uint8 (height, width, 3)."""
        self._add(moment)
        canvas, size = Image.new("RGB", (self.width, self.height), DARK), self.text_size
        left = max(length_of(title, size) for title in ROWS) + 3 * size // 2
        right = self.width - length_of("0000", size) - size
        if right - left < self._line:
            return np.asarray(canvas)
        now = [f"{moment.agreement:.0%}", f"{sum(bar[2] for bar in self._bars):.0f}"]
        now += [] if moment.strangeness is None else [f"{moment.strangeness:.2f}"]
        for row, (title, color) in enumerate(list(ROWS.items())[: len(now)]):
            middle = self._line // 4 + row * self._line + self._line // 2
            write(canvas, title, size // 2, middle, size, FAINT)
            write(canvas, now[row], right + size // 2, middle, size, BRIGHT)
            heights = [bar[1 + row] / bar[0] for bar in self._bars]
            self._draw_bars(canvas, heights, color, (left, right), middle + self._line // 2 - 2)
        return np.asarray(canvas)

    def _add(self, moment: Moment) -> None:
        if self._frames == self._most * self._frames_per_bar:  # The video is longer than expected.
            pairs = [self._bars[at : at + 2] for at in range(0, len(self._bars), 2)]
            self._bars = [[sum(values) for values in zip(*pair, strict=True)] for pair in pairs]
            self._frames_per_bar *= 2
        if self._frames % self._frames_per_bar == 0 and len(self._bars) * self._frames_per_bar <= self._frames:
            self._bars.append([0.0, 0.0, 0.0, 0.0])
        strangeness = min((moment.strangeness or 0.0) / FARTHEST, 1.0)
        added = (1.0, moment.agreement, float(moment.adapted), strangeness)
        self._bars[-1] = [total + value for total, value in zip(self._bars[-1], added, strict=True)]
        self._frames += 1

    def _draw_bars(
        self,
        canvas: Image.Image,
        heights: list[float],
        color: tuple[int, int, int],
        across: tuple[int, int],
        bottom: int,
    ) -> None:
        left, right = across
        pen, most = ImageDraw.Draw(canvas), self._line - 4
        pen.rectangle((left, bottom - most, right, bottom), TRACK)
        for index, height in enumerate(heights):
            begin, end = (left + (right - left) * place // self._most for place in (index, index + 1))
            if height:
                pen.rectangle((begin, bottom - round(most * height), max(end - 1, begin), bottom), color)
