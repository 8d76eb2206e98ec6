"""The classes of a model, and the colors they are drawn in."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass

from ttt_cli.core.errors import UsageError, printable

VOID = 255
"""The id of an unlabeled pixel. It counts in no score and is drawn in no color."""


@dataclass(frozen=True)
class Class:
    """One class that a model knows."""

    name: str
    """Such as "car"."""
    color: tuple[int, int, int]
    """RGB, 0..255."""
    is_thing: bool
    """True if it comes in countable objects (cars), False if it is stuff (sky)."""

    def __post_init__(self) -> None:
        if not all(0 <= value <= 255 for value in self.color):
            raise UsageError(f"class {printable(self.name)}: a color must be three numbers from 0 to 255")


def things_of(classes: Iterable[Class]) -> frozenset[int]:
    """The ids of the classes that come in objects."""
    return frozenset(index for index, class_ in enumerate(classes) if class_.is_thing)


def distinct_color(number: int, saturation: float, brightness: float) -> tuple[int, int, int]:
    """A color, RGB 0..255, unlike those of nearby numbers. saturation, brightness: 0..1.

    Stepping around the hue circle by the golden ratio never comes close to an earlier hue.
    """
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, saturation, brightness)
    return round(red * 255), round(green * 255), round(blue * 255)


# Names, order and colors of CamVid's SegNet split, whose files write void as 11.
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
