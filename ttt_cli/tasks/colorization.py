"""Colorization: the chroma of a picture that is given in grey. Lightness is the picture's own, at full resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ttt_cli.colour import grey_of
from ttt_cli.frame import Prediction
from ttt_cli.metrics.colour import ColourMetric
from ttt_cli.model.two_headed import Features, TwoHeadedModel
from ttt_cli.segments import Chroma
from ttt_cli.tasks.base import Task


@dataclass(frozen=True)
class ColourPrediction(Prediction):
    """chroma: float32 (2, h, w), a and b of Lab at the resolution of the head."""

    chroma: Tensor

    def present(self) -> frozenset[int]:
        return frozenset()

    def at_size(self, size: tuple[int, int]) -> Chroma:
        """Chroma stays small: it is enlarged along the edges of the picture that it is put on (colour.coloured)."""
        return Chroma(self.chroma.cpu())


@dataclass(frozen=True)
class ColorizationTask(Task):
    """The model sees grey on three channels."""

    name: ClassVar[str] = "colorization"

    def seen(self, image: Tensor) -> Tensor:
        """The image in grey of the same lightness."""
        return grey_of(image)

    def predict(self, model: TwoHeadedModel, features: Features) -> ColourPrediction:
        """What h says of the features of a batch of one."""
        return ColourPrediction(model.colour(features)[0].float())

    def new_metric(self) -> ColourMetric:
        """PSNR and what else tells good colours."""
        return ColourMetric()
