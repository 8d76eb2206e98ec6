"""How the adapted model's output becomes the prediction: as it is, voted, or averaged over the last frames.

These work on top of any method: `majority-vote` and `temporal-smoothing` are `joint` with one of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ttt_cli.core.frame import Prediction
from ttt_cli.model.two_headed import OUTPUT_STRIDE
from ttt_cli.tasks.semantic import SemanticPrediction

NON_SEMANTIC_TASKS = ("instance", "panoptic", "colorization")
Predict = Callable[[Tensor], Prediction]
"""The model as it is now: an image, RGB in 0..255, (3, H, W), to a prediction of the same size."""


@dataclass
class Plain:
    """What the model says. One predictor serves one video, since some remember frames.

    undefined_for, undefined_because: as in methods.base.Method.
    """

    undefined_for: ClassVar[tuple[str, ...]] = ()
    undefined_because: ClassVar[str] = ""

    def __call__(self, predict: Predict, image: Tensor) -> Prediction:
        """The prediction for the next frame."""
        return predict(image)


@dataclass(frozen=True)
class View:
    """One augmented copy of a frame: enlarged by `scale`, left and right exchanged, values times `brightness`."""

    scale: float = 1.0
    mirrored: bool = False
    brightness: float = 1.0

    def of(self, image: Tensor) -> Tensor:
        """float32 (3, H, W) in 0..255 to the same, `scale` times as large."""
        size = [round(side * self.scale) for side in image.shape[-2:]]
        seen = image[None].float()
        if self.scale != 1:
            seen = functional.interpolate(seen, size=size, mode="bilinear", align_corners=False, antialias=True)
        seen = (seen[0] * self.brightness).clamp(0, 255)
        return seen.flip(-1) if self.mirrored else seen


# Ten views where the paper takes a hundred at random: the cost of a frame is that of so many predictions.
VIEWS = tuple(
    View(scale, mirrored, brightness)
    for scale, brightness in ((0.75, 1.0), (1.0, 1.0), (1.25, 1.0), (1.0, 0.8), (1.0, 1.25))
    for mirrored in (False, True)
)


@dataclass
class Vote(Plain):
    """The class that most augmented views of the frame give (paper, section 6.1); probabilities are shares of votes."""

    undefined_for: ClassVar[tuple[str, ...]] = NON_SEMANTIC_TASKS
    undefined_because: ClassVar[str] = "objects of several views cannot be counted like the classes of a pixel"
    views: tuple[View, ...] = VIEWS

    def __call__(self, predict: Predict, image: Tensor) -> Prediction:
        size = (image.shape[-2], image.shape[-1])
        votes: Tensor | None = None
        for view in self.views:
            prediction = predict(view.of(image))
            assert isinstance(prediction, SemanticPrediction)
            classes = len(prediction.probabilities)
            class_map = prediction.at_size(size).ids.long()
            one = functional.one_hot(class_map.flip(-1) if view.mirrored else class_map, classes).movedim(-1, 0)
            votes = one.float() if votes is None else votes + one
        assert votes is not None
        shares = functional.avg_pool2d(votes / len(self.views), OUTPUT_STRIDE, ceil_mode=True)
        return SemanticPrediction(votes.argmax(dim=0).to(torch.uint8), shares)


@dataclass
class Smoothing(Plain):
    """The predictions of the last frames averaged, probabilities or colors (paper, section 6.1).

    window: how many frames; the paper chose it on its validation set without naming it.
    """

    undefined_for: ClassVar[tuple[str, ...]] = ("instance", "panoptic")
    undefined_because: ClassVar[str] = "objects of several frames cannot be averaged like the classes of a pixel"
    window: int = 3
    past: deque[Prediction] = field(default_factory=deque)

    def __call__(self, predict: Predict, image: Tensor) -> Prediction:
        now = predict(image)
        self.past.append(now)
        if len(self.past) > self.window:
            self.past.popleft()
        return now.averaged(self.past)


PREDICTORS = {"vote": Vote, "smoothing": Smoothing}
