"""The classes of well-known data sets are found by their names, with their colors and kinds."""

from __future__ import annotations

from collections import Counter

import pytest

from ttt_cli.core.ade20k_classes import ADE20K, ADE20K_PANOPTIC
from ttt_cli.core.classes import Class, things_of
from ttt_cli.core.known_classes import PALETTES, classes_named
from ttt_cli.core.mapillary_classes import MAPILLARY

ROAD_AND_SKYSCRAPER = (140, 140, 140)


@pytest.mark.parametrize("palette", PALETTES, ids=len)
def test_names_and_colors_are_distinct(palette: tuple[Class, ...]) -> None:
    assert len({kind.name for kind in palette}) == len(palette)
    shared = {color: count for color, count in Counter(kind.color for kind in palette).items() if count > 1}
    assert shared == ({ROAD_AND_SKYSCRAPER: 2} if len(palette) == len(ADE20K) else {})
    assert all(0 <= channel <= 255 for kind in palette for channel in kind.color)


@pytest.mark.parametrize(
    ("palette", "things", "stuff"), [(ADE20K, 100, 50), (MAPILLARY, 37, 28)], ids=["ADE20K", "Mapillary"]
)
def test_things_and_stuff_are_as_many_as_published(palette: tuple[Class, ...], things: int, stuff: int) -> None:
    assert (len(things_of(palette)), len(palette) - len(things_of(palette))) == (things, stuff)


@pytest.mark.parametrize("palette", PALETTES, ids=len)
def test_a_data_set_is_found_by_its_names(palette: tuple[Class, ...]) -> None:
    assert classes_named([f" {kind.name} " for kind in palette]) == palette


def test_both_ways_to_name_ade20k_are_the_same_classes() -> None:
    facts = [[(kind.color, kind.is_thing) for kind in names] for names in (ADE20K, ADE20K_PANOPTIC)]
    assert facts[0] == facts[1]
    assert [names[8].name for names in (ADE20K, ADE20K_PANOPTIC)] == ["windowpane", "window"]


def test_classes_of_no_data_set_get_colors_of_their_own() -> None:
    classes = classes_named(["fence", "car", "armchair", "unicorn"])
    assert [kind.is_thing for kind in classes] == [False, True, True, False]
    assert len({kind.color for kind in classes}) == 4
