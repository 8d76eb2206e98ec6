"""What to draw for a prediction: which pixel in which color, and which object is called what."""

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
    """ids: uint8 (H, W), positions in `colors`, 255 = none: first the classes, behind them the frame's objects."""

    ids: Tensor
    colors: tuple[Class, ...]
    tags: tuple[Tag, ...]


def paint(labels: Labels, classes: Sequence[Class], shown_score: float) -> Paint:
    """Stuff in the color of its class, every object in one of its own that goes by its number.

    shown_score: objects below it are left out.
    """
    layers = labels.layers(things_of(classes), shown_score)
    names = [classes[instance.class_id].name for instance in layers.objects]
    if layers.with_scores:
        names = [f"{name} {instance.score:.0%}" for name, instance in zip(names, layers.objects, strict=True)]
    room = VOID - len(classes)
    return _with_objects(layers.class_map, classes, layers.objects[:room], names)


def object_color(number: int) -> tuple[int, int, int]:
    """A bright color for the object of this number, pale and strong in turn."""
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
    """A pixel (x, y) of the mask: in the middle row, the middle one of those that the mask has there."""
    rows = np.flatnonzero(mask.any(axis=1))
    y = int(rows[len(rows) // 2])
    columns = np.flatnonzero(mask[y])
    return int(columns[len(columns) // 2]), y
