"""Colorization: the chroma of a picture that is given in gray. Lightness is the picture's own, at full resolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ttt_cli.core.area import Area
from ttt_cli.core.color import gray_of
from ttt_cli.core.frame import Frame, Prediction, Video
from ttt_cli.core.labels import Chroma, Labels, Picture
from ttt_cli.metrics.color import ColorMetric
from ttt_cli.model.two_headed import Features, TwoHeadedModel
from ttt_cli.tasks.base import Task
from ttt_cli.tasks.film import is_title_card, picture_area


@dataclass(frozen=True)
class ColorPrediction(Prediction):
    """chroma: float32 (2, h, w), a and b of Lab at the resolution of the head."""

    chroma: Tensor

    def present(self) -> frozenset[int]:
        return frozenset()

    def averaged(self, past: Sequence[Prediction]) -> ColorPrediction:
        return ColorPrediction(torch.stack([one.chroma for one in past if isinstance(one, ColorPrediction)]).mean(0))

    def at_size(self, size: tuple[int, int]) -> Chroma:
        """Chroma stays small: it is enlarged along the edges of the picture that it is put on (color.colored)."""
        return Chroma(self.chroma.cpu())


@dataclass(frozen=True)
class ColorizationTask(Task):
    """The model sees gray on three channels."""

    name: ClassVar[str] = "colorization"

    def preprocess(self, image: Tensor) -> Tensor:
        """The image in gray of the same lightness."""
        return gray_of(image)

    def prediction_without_model(self, image: Tensor) -> ColorPrediction | None:
        """Title cards stay gray."""
        if not (self.settings.title_cards and is_title_card(image)):
            return None
        return ColorPrediction(torch.zeros(2, 1, 1))

    def area_of(self, video: Video) -> Area | None:
        """What is within the borders of an old film, or as the settings have it."""
        return picture_area(video, self.settings.crop)

    def truth_of(self, frame: Frame, label: Callable[[str], Labels | None]) -> Picture:
        """The frame's own colors, those from before it was degraded; no label is asked for."""
        return Picture(frame.whole().image if frame.clean is None else frame.clean)

    def predict(self, model: TwoHeadedModel, features: Features) -> ColorPrediction:
        """What h says of the features of a batch of one."""
        return ColorPrediction(model.color(features).ab[0].float())

    def new_metric(self) -> ColorMetric:
        """PSNR and what else tells good colors."""
        return ColorMetric()
