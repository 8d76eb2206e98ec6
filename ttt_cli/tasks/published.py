"""The tasks of published models: the same tasks, predicted by the model's own pre- and post-processing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ttt_cli.core.frame import Prediction
from ttt_cli.core.labels import Instance, Instances, PanopticMap, Segment, encode
from ttt_cli.model.published.model import EncodedPicture, PublishedModel
from ttt_cli.model.published.processing import Processing
from ttt_cli.model.published.tiles import Tiles
from ttt_cli.model.split import Encoded, SplitModel
from ttt_cli.tasks.base import Task
from ttt_cli.tasks.instance import InstanceTask
from ttt_cli.tasks.panoptic import PanopticTask
from ttt_cli.tasks.semantic import SemanticPrediction, SemanticTask


@dataclass(frozen=True)
class Raw:
    """A model's own output for one frame."""

    output: Any
    tiles: Tiles | None
    image_size: tuple[int, int]
    """(height, width) that the model saw."""
    processing: Processing

    @property
    def numbers(self) -> list[Tensor]:
        """The logits. Detectors of detectron2 give none, only the objects that are left."""
        found = self.output.items() if isinstance(self.output, Mapping) else ()
        return [value for name, value in found if name.endswith("logits") and isinstance(value, Tensor)]


@dataclass(frozen=True)
class PublishedTask(Task):
    """A mixin for tasks whose frames and predictions go through the processing of a published model."""

    processing: Processing | None = None
    """Always given."""

    def preprocess(self, image: Tensor) -> Tensor:
        """The image at the size that the processing asks for."""
        return super().preprocess(self._processing.resized(image))

    def raw(self, model: SplitModel, encoded: Encoded) -> Raw:
        """What the model says of a batch of one."""
        assert isinstance(model, PublishedModel) and isinstance(encoded, EncodedPicture)
        return Raw(model.decode(encoded, self.name), encoded.tiles, encoded.image_size, self._processing)

    @property
    def _processing(self) -> Processing:
        assert self.processing is not None, "ForeignWeights.processing gives it"
        return self.processing


@dataclass(frozen=True)
class PublishedClasses(SemanticPrediction):
    """The class of every pixel, at any size as the processing says."""

    raw: Raw

    def classes_at(self, size: tuple[int, int]) -> Tensor:
        return self.raw.processing.classes(self.raw.output, self.raw.tiles, size)


@dataclass(frozen=True)
class PublishedSemanticTask(PublishedTask, SemanticTask):
    """Semantic segmentation."""

    def predict(self, model: SplitModel, features: Encoded) -> PublishedClasses:
        """h's prediction from the features of a batch of one."""
        raw = self.raw(model, features)
        assert isinstance(model, PublishedModel)
        return PublishedClasses(model.probabilities_in(raw.output, features)[0], raw.image_size, raw)


@dataclass(frozen=True)
class PublishedObjects(Prediction):
    """The objects of a frame."""

    raw: Raw
    largest_count: int
    """See TaskSettings."""
    shown_score: float
    """See TaskSettings."""

    @property
    def numbers(self) -> Sequence[Tensor]:
        return self.raw.numbers

    def present(self) -> frozenset[int]:
        found = self.at_size(self.raw.image_size).objects
        return frozenset(instance.class_id for instance in found if instance.score >= self.shown_score)

    def at_size(self, size: tuple[int, int]) -> Instances:
        """The objects with their masks in a frame of `size` (height, width), the surest first; no empty masks."""
        # One mask at a time is held at full size, since a hundred would take gigabytes in a large frame.
        found = (item for item in self.raw.processing.objects(self.raw.output, size) if item.mask.any())
        instances = [Instance(item.class_id, encode(item.mask.cpu().numpy()), item.score) for item in found]
        surest = sorted(instances, key=lambda instance: -instance.score)[: self.largest_count]
        return Instances(tuple(surest), size)


@dataclass(frozen=True)
class PublishedInstanceTask(PublishedTask, InstanceTask):
    """Instance segmentation."""

    def predict(self, model: SplitModel, features: Encoded) -> PublishedObjects:
        """h's prediction from the features of a batch of one."""
        return PublishedObjects(self.raw(model, features), self.settings.largest_count, self.settings.shown_score)


@dataclass(frozen=True)
class PublishedRegions(Prediction):
    """The objects and regions of a frame."""

    raw: Raw
    things: frozenset[int]
    """The classes that come in objects."""
    object_threshold: float
    """See TaskSettings."""
    overlap_threshold: float
    """See TaskSettings."""

    @property
    def numbers(self) -> Sequence[Tensor]:
        return self.raw.numbers

    def present(self) -> frozenset[int]:
        return frozenset(segment.class_id for segment in self.at_size(self.raw.image_size).segments)

    def at_size(self, size: tuple[int, int]) -> PanopticMap:
        """The regions of a frame of `size` (height, width)."""
        found = self.raw.processing.regions(self.raw.output, size, self.object_threshold, self.overlap_threshold)
        ids = torch.zeros(size, dtype=torch.int32)
        segments: dict[int, Segment] = {}
        stuff: dict[int, int] = {}
        for item in found:
            new_id = len(segments) + 1
            number = new_id if item.class_id in self.things else stuff.setdefault(item.class_id, new_id)
            score = max(item.score, segments[number].score) if number in segments else item.score
            segments[number] = Segment(number, item.class_id, score)
            ids[item.mask.cpu()] = number
        return PanopticMap(ids, tuple(segments.values()))


@dataclass(frozen=True)
class PublishedPanopticTask(PublishedTask, PanopticTask):
    """Panoptic segmentation."""

    def predict(self, model: SplitModel, features: Encoded) -> PublishedRegions:
        """h's prediction from the features of a batch of one."""
        settings = self.settings
        return PublishedRegions(
            self.raw(model, features), self.things, settings.object_threshold, settings.overlap_threshold
        )


PUBLISHED_TASKS: dict[str, type[PublishedTask]] = {
    task.name: task for task in (PublishedSemanticTask, PublishedInstanceTask, PublishedPanopticTask)
}
