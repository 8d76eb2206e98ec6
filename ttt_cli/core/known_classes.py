"""Colors and kinds for the classes that a published model names."""

from __future__ import annotations

from collections.abc import Sequence

from ttt_cli.core.ade20k_classes import ADE20K, ADE20K_PANOPTIC
from ttt_cli.core.cityscapes_classes import CITYSCAPES
from ttt_cli.core.classes import Class, distinct_color
from ttt_cli.core.coco_classes import COCO_INSTANCE, COCO_PANOPTIC
from ttt_cli.core.mapillary_classes import MAPILLARY
from ttt_cli.core.voc_classes import VOC

PALETTES: tuple[tuple[Class, ...], ...] = (
    CITYSCAPES,
    VOC,
    COCO_INSTANCE,
    tuple(COCO_PANOPTIC.values()),
    ADE20K,
    ADE20K_PANOPTIC,
    MAPILLARY,
)
"""Data sets with colors of their own."""
_IS_THING = {kind.name: kind.is_thing for palette in reversed(PALETTES) for kind in palette}
"""Of every class in any of them, as the first that has it says."""


def classes_named(names: Sequence[str]) -> tuple[Class, ...]:
    """The classes with these names, in their order. Spaces around a name, which some models have, are left out.

    A data set that has all of them gives their colors and says which are things. Otherwise every class gets a color of
    its own, and those that are things in the first data set that has them are things.
    """
    names = [name.strip() for name in names]
    for palette in PALETTES:
        known = {kind.name: kind for kind in palette}
        if all(name in known for name in names):
            return tuple(known[name] for name in names)
    return tuple(
        Class(name, distinct_color(number, 0.7, 0.9), _IS_THING.get(name, False)) for number, name in enumerate(names)
    )
