"""The legend below a video: the classes it has shown so far, and how much of the frame each covers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ttt_cli.core.classes import Class
from ttt_cli.core.resumable import Resumable
from ttt_cli.draw.text import BRIGHT, DARK, FAINT, length_of, line_height, shortened, write

MOST_ROWS = 3
LONGEST_NAME = 16
"""Letters, about; longer names are cut off."""


class Legend(Resumable):
    """A grid of colored squares, names and shares, of the same size throughout a video.

    Where there are more classes than cells, those that covered most so far are shown.
    """

    varying = ("_covered",)

    def __init__(
        self, classes: Sequence[Class], width: int, most_height: int, text_size: int, predictions: int
    ) -> None:
        """most_height: it takes no more rows of pixels than this. predictions: whose shares are written."""
        self.classes, self.width, self.text_size = tuple(classes), width, text_size
        self._line = line_height(text_size)
        self._name_room = max((self._name_length(kind.name) for kind in classes), default=0)
        self._share_room = length_of(self._shares_text([1.0] * predictions), text_size)
        needed = self._line + self._name_room + text_size // 2 + self._share_room + text_size
        self._columns = max(1, min(width // needed, len(classes)))
        self._cell = width // self._columns
        rows = min(-(-len(classes) // self._columns), MOST_ROWS, max(most_height // self._line - 1, 0))
        self._rows = rows if needed <= width else 0
        self.height = self._rows * self._line + self._line // 2 if self._rows else 0
        self._covered = [0.0] * len(classes)

    def _name_length(self, name: str) -> int:
        return min(length_of(name, self.text_size), length_of("n" * LONGEST_NAME, self.text_size))

    @staticmethod
    def _shares_text(shares: Sequence[float]) -> str:
        return " | ".join(f"{share:.0%}" for share in shares)

    def draw(self, shares: Sequence[np.ndarray]) -> np.ndarray:
        """The legend of the next frame, uint8 (height, width, 3). shares: by class, of each pane."""
        for index in range(len(self.classes)):
            self._covered[index] += sum(float(of_pane[index]) for of_pane in shares)
        canvas = Image.new("RGB", (self.width, self.height), DARK)
        if self._rows:
            for position, index in enumerate(self._shown()):
                row, column = divmod(position, self._columns)
                self._entry(canvas, index, [of_pane[index] for of_pane in shares], column * self._cell, row)
        return np.asarray(canvas)

    def _shown(self) -> list[int]:
        seen = [index for index, covered in enumerate(self._covered) if covered]
        return sorted(sorted(seen, key=lambda index: -self._covered[index])[: self._rows * self._columns])

    def _entry(self, canvas: Image.Image, index: int, shares: Sequence[float], left: int, row: int) -> None:
        kind, size, line = self.classes[index], self.text_size, self._line
        middle = line // 4 + row * line + line // 2
        side = round(line * 0.56)
        x = left + size // 2
        square = (x, middle - side // 2, x + side, middle + side - side // 2)
        ImageDraw.Draw(canvas).rectangle(square, kind.color, outline=FAINT)
        write(canvas, shortened(kind.name, size, self._name_room), x + line, middle, size, BRIGHT)
        write(canvas, self._shares_text(shares), x + line + self._name_room + size // 2, middle, size, FAINT)
