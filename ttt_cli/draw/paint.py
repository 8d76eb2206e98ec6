"""Decides what to draw for a prediction: the color of each pixel and the name of each object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ttt_cli.core.classes import VOID, Class, distinct_color, things_of
from ttt_cli.core.labels import Instance, Labels, decode
from ttt_cli.draw.overlay import Tag


@dataclass(frozen=True)
class Paint:
    """What to draw over one frame."""

    ids: Tensor
    """uint8 (H, W), indices into `colors`; 255 is none."""
    colors: tuple[Class, ...]
    """The classes, then the objects of this frame."""
    tags: tuple[Tag, ...]
    """Names of the objects."""


def paint(labels: Labels, classes: Sequence[Class], shown_score: float) -> Paint:
    """Paints stuff in the color of its class, and every object in a color chosen by its number.

    shown_score: objects below it are left out.
    """
    layers = labels.layers(things_of(classes), shown_score)
    names = [classes[instance.class_id].name for instance in layers.objects]
    if layers.with_scores:
        names = [f"{name} {instance.score:.0%}" for name, instance in zip(names, layers.objects, strict=True)]
    room = VOID - len(classes)
    return _with_objects(layers.class_map, classes, layers.objects[:room], names)


def object_color(number: int) -> tuple[int, int, int]:
    """A bright color for the object with this number, strong if the number is odd and paler if it is even."""
    return distinct_color(number, 0.85 if number % 2 else 0.6, 1.0)


def _with_objects(ids: Tensor, classes: Sequence[Class], objects: Sequence[Instance], names: Sequence[str]) -> Paint:
    painted = ids.numpy().copy()
    colors, tags = list(classes), []
    for index in reversed(range(len(objects))):
        mask = decode(objects[index].mask)
        painted[mask] = len(colors)
        colors.append(Class(names[index], object_color(objects[index].number), True))
        tags.append(Tag(names[index], *_middle(mask), pixels=int(mask.sum())))
    return Paint(torch.from_numpy(painted), tuple(colors), tuple(tags))


def _middle(mask: np.ndarray) -> tuple[int, int]:
    """The pixel (x, y) in the middle of the mask's middle row."""
    rows = np.flatnonzero(mask.any(axis=1))
    y = int(rows[len(rows) // 2])
    columns = np.flatnonzero(mask[y])
    return int(columns[len(columns) // 2]), y
