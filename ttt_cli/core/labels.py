"""Objects and regions of one picture, as predictions and as ground truth alike: masks with a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from ttt_cli.core.area import Area
from ttt_cli.core.classes import VOID


class Rle(TypedDict):
    """A mask in COCO's run-length code. size: [height, width]."""

    size: list[int]
    counts: bytes


@dataclass(frozen=True)
class Instance:
    """One object; objects may overlap.

    class_id: index into the classes. mask: where it is. score: 0..1, 1 for ground truth.
    is_crowd: in ground truth, a region of so many objects that they were not told apart; what is found there is
        neither right nor wrong.
    number: the same for an object throughout a video, counted from 1; 0 where it is not followed (tracks.py).
    """

    class_id: int
    mask: Rle
    score: float = 1.0
    is_crowd: bool = False
    number: int = 0


@dataclass(frozen=True)
class Segment:
    """One region of a PanopticMap. id: its value in the map, above 0. The rest is as in Instance."""

    id: int
    class_id: int
    score: float = 1.0
    is_crowd: bool = False
    number: int = 0


@dataclass(frozen=True)
class PanopticMap:
    """Every pixel belongs to one segment or to none.

    ids: int32 (H, W), 0 = no segment. segments: one for every other id in the map, and none besides.
    """

    ids: Tensor
    segments: tuple[Segment, ...]

    def class_map(self) -> Tensor:
        """The class of every pixel, uint8 (H, W), 255 where there is no segment or a crowd."""
        classes = np.full(1 + max((one.id for one in self.segments), default=0), VOID, np.uint8)
        for one in self.segments:
            classes[one.id] = VOID if one.is_crowd else one.class_id
        return torch.from_numpy(classes[self.ids.numpy()])

    def instances(self, things: frozenset[int]) -> tuple[Instance, ...]:
        """The segments whose class is among `things`, as objects."""
        ids = self.ids.numpy()
        return tuple(
            Instance(one.class_id, encode(ids == one.id), one.score, one.is_crowd, one.number)
            for one in self.segments
            if one.class_id in things
        )


@dataclass(frozen=True)
class Chroma:
    """The colours of a picture without its lightness.

    ab: a and b of Lab, float32 (2, h, w), of any size. area: the part of the frame that they are of, the rest is grey;
    None is all of it.
    """

    ab: Tensor
    area: Area | None = None


Labels = Tensor | tuple[Instance, ...] | PanopticMap | Chroma
"""What is known of one frame, by task: semantic, uint8 (H, W) class ids with 255 for void; instance; panoptic.

Colours are predicted as Chroma; their truth is the picture, uint8 RGB (3, H, W).
"""


def of_classes(labels: Labels, kept: frozenset[int]) -> Labels:
    """The labels without those of other classes than `kept`."""
    if isinstance(labels, Chroma):
        return labels
    if isinstance(labels, tuple):
        return tuple(one for one in labels if one.class_id in kept)
    if isinstance(labels, PanopticMap):
        segments = tuple(one for one in labels.segments if one.class_id in kept)
        known = torch.tensor([one.id for one in segments], dtype=labels.ids.dtype)
        return PanopticMap(labels.ids.where(torch.isin(labels.ids, known), 0), segments)
    known = torch.tensor(sorted(kept), dtype=labels.dtype)
    return labels.where(torch.isin(labels, known), VOID)


def encode(mask: np.ndarray) -> Rle:
    """A mask, bool (H, W), in run-length code."""
    code: Rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return code


def decode(code: Rle) -> np.ndarray:
    """The mask of a run-length code: bool (H, W)."""
    mask: np.ndarray = coco_mask.decode([code])[..., 0]
    return mask.astype(bool)
