"""The labels of one frame, predicted or ground truth: classes, objects, regions or colors."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict, TypeVar

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from typing_extensions import Self

from ttt_cli.core.area import Area
from ttt_cli.core.classes import VOID


class Rle(TypedDict):
    """A mask in COCO's run-length code."""

    size: list[int]
    """[height, width]."""
    counts: bytes
    """The compressed run lengths."""


@dataclass(frozen=True)
class Instance:
    """One object; objects may overlap."""

    class_id: int
    """Index into the classes."""
    mask: Rle
    """Its pixels."""
    score: float = 1.0
    """0..1, 1 for ground truth."""
    is_crowd: bool = False
    """In ground truth, a crowd of objects not labeled singly; predictions there are neither right nor wrong."""
    number: int = 0
    """The object's number throughout a video, counted from 1; 0 if it is not tracked (draw/tracks.py)."""


@dataclass(frozen=True)
class Segment:
    """One region of a PanopticMap. Fields without a description are as in Instance."""

    id: int
    """Its value in the map, above 0."""
    class_id: int
    score: float = 1.0
    is_crowd: bool = False
    number: int = 0


Part = TypeVar("Part", Instance, Segment)


@dataclass(frozen=True)
class Layers:
    """What is drawn of labels, before colors are chosen."""

    class_map: Tensor
    """The class of every pixel, uint8 (H, W), 255 = nothing painted."""
    objects: tuple[Instance, ...]
    """Painted over the class map, the first on top."""
    with_scores: bool = False
    """Whether an object's score is written beside its name."""


Follow = Callable[[Sequence[Instance]], tuple[Instance, ...]]
"""Numbers the objects of the next frame and returns them in the same order."""


class Labels(ABC):
    """The labels of one frame; each task has its own kind.

    Several methods take `things`, the classes that come in objects, and `shown_score`, the score below which predicted
    instances are not shown.
    """

    @classmethod
    def expect(cls, labels: Labels) -> Self:
        """Returns `labels` if they are of this kind. Raises TypeError if not."""
        if not isinstance(labels, cls):
            raise TypeError(f"{cls.__name__} expected, not {type(labels).__name__}")
        return labels

    @abstractmethod
    def of_classes(self, kept: frozenset[int]) -> Labels:
        """Only the labels whose class is in `kept`."""

    def renamed(self, class_ids: Sequence[int]) -> Labels:
        """The same labels, with class i replaced by class_ids[i]; what becomes 255 is left out.

        Raises TypeError for labels without classes.
        """
        raise TypeError(f"{type(self).__name__} has no classes")

    def placed(self, area: Area | None) -> Labels:
        """The labels of the whole frame, if the model saw only `area` of it; None is all of it."""
        return self

    def class_map(self, shown_score: float = 0.0) -> Tensor:
        """The class of every pixel, uint8 (H, W), 255 = none. Raises TypeError for labels without classes."""
        raise TypeError(f"{type(self).__name__} has no classes")

    def objects_shown(self, things: frozenset[int], shown_score: float) -> tuple[Instance, ...]:
        """The objects that are tracked and drawn."""
        return ()

    def numbered(self, follow: Follow, things: frozenset[int], shown_score: float) -> Labels:
        """The same labels; `follow` numbers the objects that are shown."""
        return self

    def layers(self, things: frozenset[int], shown_score: float) -> Layers:
        """What is drawn of them. Raises TypeError for labels without classes."""
        return Layers(self.class_map(shown_score), self.objects_shown(things, shown_score))

    def chroma(self) -> Chroma | None:
        """The colors to put on the picture, if any."""
        return None


@dataclass(frozen=True)
class ClassMap(Labels):
    """Labels of the task semantic: the class of every pixel."""

    ids: Tensor
    """uint8 (H, W), 255 = void."""

    def of_classes(self, kept: frozenset[int]) -> ClassMap:
        new_ids = np.full(VOID + 1, VOID, np.uint8)
        new_ids[list(kept)] = list(kept)
        return ClassMap(torch.from_numpy(new_ids[self.ids.numpy()]))

    def renamed(self, class_ids: Sequence[int]) -> ClassMap:
        new_ids = np.full(VOID + 1, VOID, np.uint8)
        new_ids[: len(class_ids)] = class_ids
        return ClassMap(torch.from_numpy(new_ids[self.ids.numpy()]))

    def class_map(self, shown_score: float = 0.0) -> Tensor:
        return self.ids


@dataclass(frozen=True)
class Instances(Labels):
    """Labels of the task instance: objects, which may overlap."""

    objects: tuple[Instance, ...]
    """Predicted objects are sorted by score, highest first."""
    size: tuple[int, int]
    """(height, width) of the frame."""

    def of_classes(self, kept: frozenset[int]) -> Instances:
        return Instances(tuple(instance for instance in self.objects if instance.class_id in kept), self.size)

    def renamed(self, class_ids: Sequence[int]) -> Instances:
        return Instances(_of_other_classes(self.objects, class_ids), self.size)

    def class_map(self, shown_score: float = 0.0) -> Tensor:
        classes = np.full(self.size, VOID, np.uint8)
        for instance in reversed(self._at_least(shown_score)):
            classes[decode(instance.mask)] = instance.class_id
        return torch.from_numpy(classes)

    def objects_shown(self, things: frozenset[int], shown_score: float) -> tuple[Instance, ...]:
        return self._at_least(shown_score)

    def numbered(self, follow: Follow, things: frozenset[int], shown_score: float) -> Instances:
        unsure = (instance for instance in self.objects if instance.score < shown_score)
        return Instances((*follow(self._at_least(shown_score)), *unsure), self.size)

    def layers(self, things: frozenset[int], shown_score: float) -> Layers:
        no_classes = torch.full(self.size, VOID, dtype=torch.uint8)
        return Layers(no_classes, self._at_least(shown_score), with_scores=True)

    def _at_least(self, score: float) -> tuple[Instance, ...]:
        return tuple(instance for instance in self.objects if instance.score >= score)


@dataclass(frozen=True)
class PanopticMap(Labels):
    """Labels of the task panoptic: every pixel belongs to one segment or to none."""

    ids: Tensor
    """int32 (H, W), 0 = no segment."""
    segments: tuple[Segment, ...]
    """Exactly one for each id in the map except 0."""

    def of_classes(self, kept: frozenset[int]) -> PanopticMap:
        return self._with(tuple(segment for segment in self.segments if segment.class_id in kept))

    def renamed(self, class_ids: Sequence[int]) -> PanopticMap:
        return self._with(_of_other_classes(self.segments, class_ids))

    def _with(self, segments: tuple[Segment, ...]) -> PanopticMap:
        """These of its segments, and no segment where the others were."""
        known = torch.tensor([segment.id for segment in segments], dtype=self.ids.dtype)
        return PanopticMap(self.ids.where(torch.isin(self.ids, known), 0), segments)

    def class_map(self, shown_score: float = 0.0) -> Tensor:
        """The class of every pixel, uint8 (H, W), 255 = no segment, or a crowd."""
        classes = np.full(1 + max((segment.id for segment in self.segments), default=0), VOID, np.uint8)
        for segment in self.segments:
            classes[segment.id] = VOID if segment.is_crowd else segment.class_id
        return torch.from_numpy(classes[self.ids.numpy()])

    def instances(self, things: frozenset[int]) -> Instances:
        """The segments whose class is in `things`, as objects."""
        ids = self.ids.numpy()
        objects = tuple(
            Instance(segment.class_id, encode(ids == segment.id), segment.score, segment.is_crowd, segment.number)
            for segment in self.segments
            if segment.class_id in things
        )
        return Instances(objects, (ids.shape[0], ids.shape[1]))

    def objects_shown(self, things: frozenset[int], shown_score: float) -> tuple[Instance, ...]:
        return self.instances(things).objects

    def numbered(self, follow: Follow, things: frozenset[int], shown_score: float) -> PanopticMap:
        numbers = iter(follow(self.objects_shown(things, shown_score)))
        segments = tuple(
            dataclasses.replace(segment, number=next(numbers).number) if segment.class_id in things else segment
            for segment in self.segments
        )
        return PanopticMap(self.ids, segments)


@dataclass(frozen=True)
class Chroma(Labels):
    """Labels of the task colorization: the colors of a picture without its lightness."""

    ab: Tensor
    """a and b of Lab, float32 (2, h, w), of any size."""
    area: Area | None = None
    """The part of the frame that `ab` covers, the rest is gray; None is all of it."""

    def of_classes(self, kept: frozenset[int]) -> Chroma:
        return self

    def placed(self, area: Area | None) -> Chroma:
        return Chroma(self.ab, area)

    def chroma(self) -> Chroma:
        return self


@dataclass(frozen=True)
class Picture(Labels):
    """The ground truth of the task colorization."""

    image: Tensor
    """uint8 RGB (3, H, W)."""

    def of_classes(self, kept: frozenset[int]) -> Picture:
        return self


def _of_other_classes(parts: Iterable[Part], class_ids: Sequence[int]) -> tuple[Part, ...]:
    """The objects or segments, with class i replaced by class_ids[i], without those that become 255."""
    renamed = (dataclasses.replace(part, class_id=class_ids[part.class_id]) for part in parts)
    return tuple(part for part in renamed if part.class_id != VOID)


def encode(mask: np.ndarray) -> Rle:
    """Encodes a mask, bool (H, W), in run-length code."""
    code: Rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return code


def decode(code: Rle) -> np.ndarray:
    """Decodes a run-length code to a mask, bool (H, W)."""
    mask: np.ndarray = coco_mask.decode([code])[..., 0]
    return mask.astype(bool)
