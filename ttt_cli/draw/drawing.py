"""Draws predictions over the frames of a video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ttt_cli.core.classes import Class
from ttt_cli.core.color import colored
from ttt_cli.core.labels import Labels
from ttt_cli.core.resumable import Resumable
from ttt_cli.draw.overlay import classes_in, overlay
from ttt_cli.draw.paint import paint
from ttt_cli.video.settings import OutputSettings


class Drawing(Resumable):
    """Draws one video; its legend lists every class seen so far. shown_score: objects below it are not drawn."""

    varying = ("_seen",)

    def __init__(self, classes: Sequence[Class], settings: OutputSettings, shown_score: float) -> None:
        self.classes, self.settings, self.shown_score = tuple(classes), settings, shown_score
        self._seen: set[int] = set()

    def pictures(self, image: Tensor, labelings: Sequence[Labels]) -> list[np.ndarray]:
        """Draws each labeling over the next frame, uint8 RGB (3, H, W): uint8 (H, W, 3) each, with a shared legend."""
        settings = self.settings
        chromas = [chroma for labels in labelings if (chroma := labels.chroma()) is not None]
        if chromas:
            pictures = [colored(image, chroma) for chroma in chromas]
            return [picture.permute(1, 2, 0).contiguous().numpy() for picture in pictures]
        paints = [paint(labels, self.classes, self.shown_score) for labels in labelings]
        for painted in paints:
            self._seen |= {id for id in classes_in(painted.ids) if id < len(self.classes)}
        if not settings.labels:
            return [
                overlay(image, painted.ids, painted.colors, alpha=settings.alpha, legend=frozenset())
                for painted in paints
            ]
        return [
            overlay(
                image,
                painted.ids,
                painted.colors,
                alpha=settings.alpha,
                legend=frozenset(self._seen),
                tags=painted.tags,
            )
            for painted in paints
        ]
