"""Colors of classes that can be told apart although a video shows through them (`benchmarks/palette.py`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from ttt_cli.core.classes import Class
from ttt_cli.video.settings import Palette

# Found by a search that keeps the smallest CIEDE2000 between two of CamVid's eleven as large as it can over black, gray
# and bright grounds, and large areas calm; the classes that Cityscapes adds were then put between them.
STREET: dict[str, tuple[int, int, int]] = {
    "sky": (39, 166, 251),
    "building": (255, 121, 88),
    "pole": (252, 255, 240),
    "road": (40, 24, 37),
    "pavement": (217, 178, 255),
    "tree": (56, 93, 38),
    "sign symbol": (113, 253, 18),
    "fence": (250, 183, 3),
    "car": (11, 0, 193),
    "pedestrian": (202, 0, 117),
    "bicyclist": (5, 238, 208),
    "wall": (74, 101, 121),
    "traffic light": (117, 81, 0),
    "terrain": (2, 169, 48),
    "rider": (193, 251, 176),
    "truck": (9, 130, 131),
    "bus": (81, 97, 196),
    "train": (137, 18, 6),
    "motorcycle": (155, 116, 119),
}
SAME = {
    "sidewalk": "pavement",
    "vegetation": "tree",
    "traffic sign": "sign symbol",
    "person": "pedestrian",
    "bicycle": "bicyclist",
}
"""Names in Cityscapes and what is the same in STREET."""


def distinct(classes: Sequence[Class]) -> tuple[Class, ...]:
    """The classes in colors of STREET, if all of them are there; else in those of their data set."""
    names = [SAME.get(kind.name, kind.name) for kind in classes]
    if not all(name in STREET for name in names):
        return tuple(classes)
    return tuple(dataclasses.replace(kind, color=STREET[name]) for kind, name in zip(classes, names, strict=True))


PALETTES: dict[Palette, Callable[[Sequence[Class]], tuple[Class, ...]]] = {"distinct": distinct, "official": tuple}
"""By name."""
