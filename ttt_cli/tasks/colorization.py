"""Colorization: the chroma of a picture that is given in grey. Lightness is the picture's own, at full resolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ttt_cli.core.area import Area
from ttt_cli.core.color import grey_of
from ttt_cli.core.frame import Frame, Prediction, Video
from ttt_cli.core.labels import Chroma, Labels, Picture
from ttt_cli.metrics.colour import ColourMetric
from ttt_cli.model.two_headed import Features, TwoHeadedModel
from ttt_cli.tasks.base import Task
from ttt_cli.tasks.film import is_title_card, picture_area


@dataclass(frozen=True)
class ColourPrediction(Prediction):
    """chroma: float32 (2, h, w), a and b of Lab at the resolution of the head."""

    chroma: Tensor

    def present(self) -> frozenset[int]:
        return frozenset()

    def averaged(self, past: Sequence[Prediction]) -> ColourPrediction:
        return ColourPrediction(torch.stack([one.chroma for one in past if isinstance(one, ColourPrediction)]).mean(0))

    def at_size(self, size: tuple[int, int]) -> Chroma:
        """Chroma stays small: it is enlarged along the edges of the picture that it is put on (colour.coloured)."""
        return Chroma(self.chroma.cpu())


@dataclass(frozen=True)
class ColorizationTask(Task):
    """The model sees grey on three channels."""

    name: ClassVar[str] = "colorization"

    def preprocess(self, image: Tensor) -> Tensor:
        """The image in grey of the same lightness."""
        return grey_of(image)

    def prediction_without_model(self, image: Tensor) -> ColourPrediction | None:
        """Title cards stay grey."""
        if not (self.settings.title_cards and is_title_card(image)):
            return None
        return ColourPrediction(torch.zeros(2, 1, 1))

    def area_of(self, video: Video) -> Area | None:
        """What is within the borders of an old film, or as the settings have it."""
        return picture_area(video, self.settings.crop)

    def truth_of(self, frame: Frame, label: Callable[[str], Labels | None]) -> Picture:
        """The frame's own colours, those from before it was degraded; no label is asked for."""
        return Picture(frame.whole().image if frame.clean is None else frame.clean)

    def predict(self, model: TwoHeadedModel, features: Features) -> ColourPrediction:
        """What h says of the features of a batch of one."""
        return ColourPrediction(model.colour(features).ab[0].float())

    def new_metric(self) -> ColourMetric:
        """PSNR and what else tells good colours."""
        return ColourMetric()
