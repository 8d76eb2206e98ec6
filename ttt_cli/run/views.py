"""What is written and drawn of each step of a run: labels with tracked objects, and the picture of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttt_cli.core.classes import Class, things_of
from ttt_cli.core.frame import Video
from ttt_cli.core.labels import Labels
from ttt_cli.core.resumable import Resumable
from ttt_cli.draw.drawing import Drawing, Pane
from ttt_cli.draw.timeline import Moment
from ttt_cli.draw.tracks import Tracks
from ttt_cli.run.settings import RunSettings
from ttt_cli.run.steps import Step

FIRST_OF_FIXED = 10_001
"""The number of the first object that the fixed model alone sees."""


@dataclass(frozen=True)
class View:
    """One step as it is shown: only the classes that the user wants, objects with their numbers."""

    labels: Labels
    """The prediction."""
    fixed: Labels | None
    """The fixed model's, if it runs beside; objects that both models see have the same number."""
    agreement: float | None
    """The share of pixels to which both give the same class; None without classes or fixed model."""


class Views:
    """Makes the views of one video, in order, and their pictures."""

    def __init__(self, video: Video, classes: tuple[Class, ...], settings: RunSettings) -> None:
        self.settings, shown_score = settings, settings.task.shown_score
        names = settings.output.classes
        self._kept = frozenset(index for index, kind in enumerate(classes) if not names or kind.name in names)
        self._has_classes = bool(classes)
        self._drawing = Drawing(classes, settings.output, shown_score, video.size, video.length)
        things = things_of(classes)
        self._tracks = Tracks(things, shown_score)
        self._fixed_tracks = Tracks(things, shown_score, FIRST_OF_FIXED)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures."""
        return self._drawing.size

    def parts(self) -> tuple[Resumable, ...]:
        """What changes from view to view."""
        return self._tracks, self._fixed_tracks, self._drawing

    def of(self, step: Step) -> View:
        """The view of the next step."""
        labels = self._tracks.numbered(step.labels.of_classes(self._kept))
        if step.fixed_labels is None:
            return View(labels, None, None)
        fixed = self._fixed_tracks.numbered(step.fixed_labels.of_classes(self._kept), beside=labels)
        return View(labels, fixed, self._agreement(labels, fixed) if self._has_classes else None)

    def _agreement(self, labels: Labels, fixed: Labels) -> float:
        ours, theirs = (of_model.class_map(self.settings.task.shown_score) for of_model in (labels, fixed))
        return float((ours == theirs).float().mean())

    def picture(self, step: Step, view: View) -> np.ndarray:
        """The picture of a view, uint8 (*size, 3)."""
        panes = [Pane(f"adapted ({self.settings.adaptation.method})", view.labels)]
        if view.fixed is not None:
            panes.insert(0, Pane("fixed", view.fixed))
        if self.settings.output.layout == "panes":
            panes.insert(0, Pane("video", None))
        moment = None
        if view.agreement is not None:
            result = step.result
            look = None if step.strangeness is None else step.strangeness.look
            moment = Moment(view.agreement, look, bool(result.adapted) or result.dead_zone is not None)
        return self._drawing.picture(step.frame.image, panes, moment)
