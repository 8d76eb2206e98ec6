"""Draws the pictures of a video: a prediction, or several side by side, with a legend below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ttt_cli.core.classes import Class
from ttt_cli.core.color import colored
from ttt_cli.core.labels import Labels
from ttt_cli.core.resumable import Resumable
from ttt_cli.draw.legend import Legend
from ttt_cli.draw.lift import Lift
from ttt_cli.draw.overlay import overlay, shares_of
from ttt_cli.draw.paint import paint
from ttt_cli.draw.palette import PALETTES
from ttt_cli.draw.text import BRIGHT, DARK, line_height, shortened, size_for, write
from ttt_cli.draw.timeline import Moment, Timeline
from ttt_cli.video.settings import OutputSettings

PANES = {"overlay": 1, "compare": 2, "panes": 3}
"""How many pictures a layout has side by side."""
GAP = 2
"""Columns of pixels between them."""


@dataclass(frozen=True)
class Pane:
    """One of the pictures that are shown side by side."""

    title: str
    """Written above it, if there are several."""
    labels: Labels | None
    """What is drawn over the frame; None shows the frame as it is."""


class Drawing(Resumable):
    """Draws one video. All its pictures have the same `size`, (height, width)."""

    def __init__(
        self,
        classes: Sequence[Class],
        settings: OutputSettings,
        shown_score: float,
        frame_size: tuple[int, int],
        length: int | None = None,
    ) -> None:
        """shown_score: objects below it are not drawn. length: how many frames are expected, if that is known."""
        self.classes = PALETTES[settings.palette](classes)
        self.settings, self.shown_score = settings, shown_score
        panes, (height, width) = PANES[settings.layout], frame_size
        self._width = panes * width + (panes - 1) * GAP
        self._text_size = size_for(height, width)
        compares = panes > 1 and settings.labels
        self._header_height = line_height(self._text_size) if compares else 0
        named = self.classes if settings.labels else ()
        self._legend = Legend(named, self._width, height // 3, self._text_size, predictions=min(panes, 2))
        self._timeline = Timeline(self._width, self._text_size, length) if compares and classes else None
        self._lift = Lift() if settings.lift else None
        below = self._legend.height + (0 if self._timeline is None else self._timeline.height)
        self.size = (self._header_height + height + below, self._width)

    def state(self) -> dict[str, Any]:
        """The states of its parts."""
        return {str(index): part.state() for index, part in enumerate(self._parts())}

    def resume(self, state: dict[str, Any]) -> None:
        """Sets the states of its parts."""
        for index, part in enumerate(self._parts()):
            part.resume(state[str(index)])

    def _parts(self) -> list[Resumable]:
        return [part for part in (self._legend, self._timeline, self._lift) if part is not None]

    def picture(self, image: Tensor, panes: Sequence[Pane], moment: Moment | None = None) -> np.ndarray:
        """Draws the panes of the next frame, uint8 RGB (3, H, W), as the layout has them: uint8 (*size, 3).

        moment: for the timeline, which a layout with several panes has if there are classes.
        """
        lifted = image if self._lift is None else self._lift.lifted(image)
        pictures = [self._pane(image, lifted, pane.labels) for pane in panes]
        gap = np.full((image.shape[1], GAP, 3), DARK, np.uint8)
        rows = [np.concatenate([part for picture in pictures for part in (gap, picture)][1:], axis=1)]
        if self._header_height:
            rows.insert(0, self._header([pane.title for pane in panes]))
        if self._legend.height:
            maps = [pane.labels.class_map(self.shown_score) for pane in panes if pane.labels is not None]
            rows.append(self._legend.draw([shares_of(class_map) for class_map in maps]))
        if self._timeline is not None and moment is not None:
            rows.append(self._timeline.draw(moment))
        return np.concatenate(rows)

    def _pane(self, image: Tensor, lifted: Tensor, labels: Labels | None) -> np.ndarray:
        if labels is None:
            return _as_array(image)
        chroma = labels.chroma()
        if chroma is not None:
            return _as_array(colored(image, chroma))
        painted = paint(labels, self.classes, self.shown_score)
        tags = painted.tags if self.settings.labels else ()
        return overlay(lifted, painted.ids, painted.colors, self.settings.alpha, tags)

    def _header(self, titles: Sequence[str]) -> np.ndarray:
        canvas = Image.new("RGB", (self._width, self._header_height), DARK)
        step = (self._width + GAP) // len(titles)
        for index, title in enumerate(titles):
            text = shortened(title, self._text_size, step - self._text_size)
            write(canvas, text, index * step + self._text_size // 2, self._header_height / 2, self._text_size, BRIGHT)
        return np.asarray(canvas)


def _as_array(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).contiguous().numpy()
