"""The base of all tasks: how the main head's output becomes a prediction, and how that is scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ttt_cli.core.area import Area
from ttt_cli.core.classes import Class, things_of
from ttt_cli.core.exposure import exposure_matched
from ttt_cli.core.frame import Frame, Prediction, Video
from ttt_cli.core.labels import Labels
from ttt_cli.core.pictures import PictureStatistics
from ttt_cli.metrics.base import Metric
from ttt_cli.model.queries import MaskQueries
from ttt_cli.model.split import Encoded, SplitModel
from ttt_cli.tasks.settings import TaskSettings


@dataclass(frozen=True)
class Task(ABC):
    """One task of the main head h."""

    name: ClassVar[str]
    """Its name in TASKS."""
    classes: tuple[Class, ...]
    """The classes of the weights, in the order of the class logits."""
    settings: TaskSettings = field(default_factory=TaskSettings)
    ordinary: PictureStatistics | None = None
    """Frames are matched to these before the model sees them (core/exposure.py); None leaves them as they are."""

    @property
    def things(self) -> frozenset[int]:
        """The classes that come in objects."""
        return things_of(self.classes)

    def preprocess(self, image: Tensor) -> Tensor:
        """Turns an image, uint8 RGB (3, H, W), into what the model sees: the same size and type."""
        return exposure_matched(image, self.ordinary)

    def prediction_without_model(self, image: Tensor) -> Prediction | None:
        """The prediction for an image that the model does not see or train on; None for all others."""
        return None

    def area_of(self, video: Video) -> Area | None:
        """The part of a video's frames that the model sees; None is the whole frame."""
        return None

    def truth_of(self, frame: Frame, label: Callable[[str], Labels | None]) -> Labels | None:
        """The ground truth of a frame; None if it has none. label: the labels of the frame with a given name."""
        return label(frame.name)

    @abstractmethod
    def predict(self, model: SplitModel, features: Encoded) -> Prediction:
        """h's prediction from the features of a batch of one."""

    @abstractmethod
    def new_metric(self) -> Metric:
        """An empty metric for this task's predictions."""


class MaskTask(Task):
    """A task of a model with mask queries."""

    def predict(self, model: SplitModel, features: Encoded) -> Prediction:
        """h's prediction from the features of a batch of one."""
        return self.postprocess(model.decode(features))

    @abstractmethod
    def postprocess(self, queries: MaskQueries) -> Prediction:
        """The prediction for a batch of one."""
