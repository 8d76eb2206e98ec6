"""Colorization: predicts the chroma of a gray picture. The picture keeps its own lightness, at full resolution."""

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
from ttt_cli.model.split import Encoded, SplitModel
from ttt_cli.tasks.base import Task
from ttt_cli.tasks.film import is_title_card, picture_area


@dataclass(frozen=True)
class ColorPrediction(Prediction):
    """The colors of a frame."""

    chroma: Tensor
    """float32 (2, h, w), a and b of Lab at the resolution of the head, times TaskSettings.saturation."""

    @property
    def numbers(self) -> Sequence[Tensor]:
        return (self.chroma,)

    def present(self) -> frozenset[int]:
        return frozenset()

    def averaged(self, past: Sequence[Prediction]) -> ColorPrediction:
        chroma = [prediction.chroma for prediction in past if isinstance(prediction, ColorPrediction)]
        return ColorPrediction(torch.stack(chroma).mean(0))

    def mirrored(self) -> ColorPrediction:
        return ColorPrediction(self.chroma.flip(-1))

    def at_size(self, size: tuple[int, int]) -> Chroma:
        """Chroma stays at its size; core.color.colored enlarges it along the edges of the picture."""
        return Chroma(self.chroma.cpu())


@dataclass(frozen=True)
class ColorizationTask(Task):
    """The model sees gray images on three channels."""

    name: ClassVar[str] = "colorization"

    def preprocess(self, image: Tensor) -> Tensor:
        """The image in gray of the same lightness."""
        return gray_of(super().preprocess(image))

    def prediction_without_model(self, image: Tensor) -> ColorPrediction | None:
        """Title cards stay gray."""
        if not (self.settings.title_cards and is_title_card(image)):
            return None
        return ColorPrediction(torch.zeros(2, 1, 1))

    def area_of(self, video: Video) -> Area | None:
        """The picture without the borders of an old film, or the area that the settings name."""
        return picture_area(video, self.settings.crop)

    def truth_of(self, frame: Frame, label: Callable[[str], Labels | None]) -> Picture:
        """The frame's own colors, as they were before any degradation; labels are not used."""
        return Picture(frame.whole().image if frame.clean is None else frame.clean)

    def predict(self, model: SplitModel, features: Encoded) -> ColorPrediction:
        """h's prediction from the features of a batch of one, as strong as the settings say."""
        return ColorPrediction(model.decode(features).ab[0].float() * self.settings.saturation)

    def new_metric(self) -> ColorMetric:
        """PSNR and the other scores of colors."""
        return ColorMetric()
