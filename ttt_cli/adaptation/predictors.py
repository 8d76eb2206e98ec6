"""How the adapted model's output becomes the prediction: unchanged, by vote, or averaged over the last frames.

Predictors work on top of any method: `majority-vote` and `temporal-smoothing` are `joint` with a predictor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ttt_cli.core.frame import Prediction
from ttt_cli.core.resumable import Resumable
from ttt_cli.model.split import OUTPUT_STRIDE
from ttt_cli.tasks.semantic import SemanticPrediction

NON_SEMANTIC_TASKS = ("instance", "panoptic", "colorization")
Predict = Callable[[Tensor], Prediction]
"""The model's current prediction for an image, RGB in 0..255, (3, H, W), at the same size."""


@dataclass
class Predictor(Resumable):
    """The model's prediction, unchanged. Make a new predictor for each video, since some remember frames."""

    undefined_for: ClassVar[tuple[str, ...]] = ()
    """As in methods.base.Method."""
    undefined_because: ClassVar[str] = ""
    """As in methods.base.Method."""

    def __call__(self, predict: Predict, image: Tensor) -> Prediction:
        """The prediction for the next frame."""
        return predict(image)


@dataclass(frozen=True)
class View:
    """An augmentation of a frame."""

    scale: float = 1.0
    """Factor of the sides."""
    mirrored: bool = False
    """Whether left and right are swapped."""
    brightness: float = 1.0
    """Factor of the pixel values."""

    def of(self, image: Tensor) -> Tensor:
        """The augmented copy of an image (3, H, W): float32 in 0..255, `scale` times as large."""
        size = [round(side * self.scale) for side in image.shape[-2:]]
        copy = image[None].float()
        if self.scale != 1:
            copy = functional.interpolate(copy, size=size, mode="bilinear", align_corners=False, antialias=True)
        copy = (copy[0] * self.brightness).clamp(0, 255)
        return copy.flip(-1) if self.mirrored else copy


# Ten views; the paper takes a hundred at random. Each view of a frame costs a prediction.
VIEWS = tuple(
    View(scale, mirrored, brightness)
    for scale, brightness in ((0.75, 1.0), (1.0, 1.0), (1.25, 1.0), (1.0, 0.8), (1.0, 1.25))
    for mirrored in (False, True)
)


@dataclass(frozen=True)
class Voted(SemanticPrediction):
    """The class of every pixel, by vote; `probabilities` are shares of the votes."""

    winners: Tensor
    """uint8 (H, W)."""

    def classes_at(self, size: tuple[int, int]) -> Tensor:
        return self.winners if size == self.image_size else super().classes_at(size)


@dataclass
class Vote(Predictor):
    """The class that most augmented views of the frame give (paper, section 5.1); probabilities are shares of votes."""

    undefined_for: ClassVar[tuple[str, ...]] = NON_SEMANTIC_TASKS
    undefined_because: ClassVar[str] = "objects of several views cannot be counted like the classes of a pixel"
    views: tuple[View, ...] = VIEWS
    """The augmentations; each gives one vote a pixel."""

    def __call__(self, predict: Predict, image: Tensor) -> Prediction:
        size = (image.shape[-2], image.shape[-1])
        votes: Tensor | None = None
        for view in self.views:
            prediction = predict(view.of(image))
            assert isinstance(prediction, SemanticPrediction)
            classes = len(prediction.probabilities)
            class_map = prediction.classes_at(size).long()
            vote = functional.one_hot(class_map.flip(-1) if view.mirrored else class_map, classes).movedim(-1, 0)
            votes = vote.float() if votes is None else votes + vote
        assert votes is not None
        shares = functional.avg_pool2d(votes / len(self.views), OUTPUT_STRIDE, ceil_mode=True)
        return Voted(shares, size, votes.argmax(dim=0).to(torch.uint8))


def mirrored(image: Tensor) -> Tensor:
    """The mirror image of (..., H, W), first widened to a multiple of OUTPUT_STRIDE by repeating its last column.

    So the cells of its probabilities lie on the same pixels as those of the image itself.
    """
    missing = -image.shape[-1] % OUTPUT_STRIDE
    return torch.cat([image, image[..., -1:].expand(*image.shape[:-1], missing)], dim=-1).flip(-1)


@dataclass
class Mirror(Predictor):
    """The mean of the predictions of the frame and of its mirror image, the simplest test-time augmentation."""

    undefined_for: ClassVar[tuple[str, ...]] = ("instance", "panoptic")
    undefined_because: ClassVar[str] = "objects of a frame and its mirror image cannot be averaged"

    def __call__(self, predict: Predict, image: Tensor) -> Prediction:
        now = predict(image)
        return now.averaged([now, predict(mirrored(image)).mirrored()])


@dataclass
class Smoothing(Predictor):
    """The mean of the last frames' predictions, probabilities or colors (paper, section 5.1)."""

    undefined_for: ClassVar[tuple[str, ...]] = ("instance", "panoptic")
    undefined_because: ClassVar[str] = "objects of several frames cannot be averaged like the classes of a pixel"
    window: int = 3
    """How many frames to average. The paper chose this on its validation set without giving the number."""
    past: deque[Prediction] = field(default_factory=deque)
    """The last predictions, at most `window`."""

    varying = ("past",)

    def state(self) -> dict[str, Any]:
        """The last predictions, each as the mean of itself alone, without what only the newest one needs."""
        return {"past": [prediction.averaged([prediction]) for prediction in self.past]}

    def __call__(self, predict: Predict, image: Tensor) -> Prediction:
        now = predict(image)
        self.past.append(now)
        if len(self.past) > self.window:
            self.past.popleft()
        return now.averaged(self.past)


PREDICTORS = {"vote": Vote, "smoothing": Smoothing, "mirror": Mirror}
