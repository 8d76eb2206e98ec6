"""Decides what to draw for a prediction: the color of each pixel and the name of each object."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ttt_cli.core.classes import VOID, Class, things_of
from ttt_cli.core.labels import Labels, decode
from ttt_cli.draw.overlay import Tag

HUES, BRIGHTNESSES = (0.0, 0.06, -0.06, 0.11, -0.11), (1.0, 0.72)
"""By how much the hues of objects of one class differ, of a whole turn, and what their brightness is multiplied by."""
COARSE = 4
"""The place for a name is looked for on every 4th row and column."""


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
    """Paints stuff in the color of its class, and every object in a shade of it that is chosen by its number.

    shown_score: objects below it are left out.
    """
    layers = labels.layers(things_of(classes), shown_score)
    room = VOID - len(classes)
    objects = layers.objects[:room]
    painted = layers.class_map.numpy().copy()
    colors = list(classes)
    for instance in reversed(objects):
        painted[decode(instance.mask)] = len(colors)
        kind = classes[instance.class_id]
        name = f"{kind.name} {instance.score:.0%}" if layers.with_scores else kind.name
        colors.append(Class(name, object_color(kind.color, instance.number), True))
    tags = (_tag(painted == index, colors[index]) for index in range(len(classes), len(colors)))
    return Paint(torch.from_numpy(painted), tuple(colors), tuple(tag for tag in tags if tag is not None))


def object_color(of_class: tuple[int, int, int], number: int) -> tuple[int, int, int]:
    """The color of an object: near to that of its class, and unlike those of the next numbers."""
    hue, saturation, brightness = colorsys.rgb_to_hsv(*(value / 255 for value in of_class))
    step = number - 1
    brightness *= BRIGHTNESSES[step // len(HUES) % len(BRIGHTNESSES)]
    red, green, blue = colorsys.hsv_to_rgb((hue + HUES[step % len(HUES)]) % 1, saturation, brightness)
    return round(red * 255), round(green * 255), round(blue * 255)


def _tag(seen: np.ndarray, kind: Class) -> Tag | None:
    """The object's name where what is seen of it, bool (H, W), is widest; None if others hide it."""
    from scipy.ndimage import distance_transform_edt  # Takes a while, and is for objects only.

    pixels = int(seen.sum())
    if not pixels:
        return None
    coarse = seen[::COARSE, ::COARSE]
    if not coarse.any():
        y, x = (int(values[0]) for values in np.nonzero(seen))
        return Tag(kind.name, x, y, pixels, kind.color)
    inside = distance_transform_edt(np.pad(coarse, 1))[1:-1, 1:-1]
    y, x = divmod(int(inside.argmax()), inside.shape[1])
    return Tag(kind.name, x * COARSE, y * COARSE, pixels, kind.color)
