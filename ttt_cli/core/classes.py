"""The classes that a model tells apart, and the colors they are drawn in."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass

VOID = 255
"""The id of a pixel that has no label: it counts in no score and is drawn in no color."""


@dataclass(frozen=True)
class Class:
    """One class. color: RGB, 0..255. is_thing: it comes in objects that can be counted (cars), unlike stuff (sky)."""

    name: str
    color: tuple[int, int, int]
    is_thing: bool


def things_of(classes: Iterable[Class]) -> frozenset[int]:
    """The ids of those classes that come in objects."""
    return frozenset(index for index, one in enumerate(classes) if one.is_thing)


def distinct_color(number: int, saturation: float, brightness: float) -> tuple[int, int, int]:
    """A color, RGB 0..255, that differs from those of near numbers; saturation, brightness: 0..1.

    Steps of the golden ratio around the circle of hues never come close to an earlier one.
    """
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, saturation, brightness)
    return round(red * 255), round(green * 255), round(blue * 255)


# Names, order and colors of the SegNet split of CamVid; the files of that split write void as 11.
CAMVID: tuple[Class, ...] = (
    Class("sky", (128, 128, 128), False),
    Class("building", (128, 0, 0), False),
    Class("pole", (192, 192, 128), False),
    Class("road", (128, 64, 128), False),
    Class("pavement", (60, 40, 222), False),
    Class("tree", (128, 128, 0), False),
    Class("sign symbol", (192, 128, 128), False),
    Class("fence", (64, 64, 128), False),
    Class("car", (64, 0, 128), True),
    Class("pedestrian", (64, 64, 0), True),
    Class("bicyclist", (0, 128, 192), True),
)
