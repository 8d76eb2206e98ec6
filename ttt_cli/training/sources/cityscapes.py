"""Cityscapes: pictures in leftImg8bit/{train,val}/CITY, labels in gtFine/{train,val}/CITY.

NAME_labelIds.png has Cityscapes' own ids, NAME_labelTrainIds.png the 19 that count. NAME_instanceIds.png has 1000 times
the id plus a number for each object, and the id alone for groups of objects. Without it, which some copies lack, the
connected components of things stand in for objects.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from ttt_cli.core.cityscapes_classes import CITYSCAPES
from ttt_cli.core.classes import VOID, things_of
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.datasets.labels import class_map, read_png
from ttt_cli.training.sources.files import image_of, objects_in, present, size_of
from ttt_cli.training.stills import LabeledStills, Still

THINGS = things_of(CITYSCAPES)
IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes' own ids of these classes, in their order. All others are void."""
CLASS_OF_ID = np.full(256, VOID, np.uint8)
CLASS_OF_ID[list(IDS)] = range(len(IDS))
ENDING = "_leftImg8bit.png"


def cityscapes(folder: Path, split: str) -> LabeledStills:
    """The pictures of all cities of a split. Raises TttvError if there are none or a label is missing."""
    root = folder / "leftImg8bit" / split
    pictures = sorted(root.glob(f"*/*{ENDING}"))
    if not pictures:
        raise TttvError(f"{printable(root)}: has no CITY/NAME{ENDING} in it; docs/data.md has the layout")
    stills = []
    for picture in pictures:
        stem = f"{picture.name.removesuffix(ENDING)}_gtFine"
        labels = folder / "gtFine" / split / picture.parent.name
        own_ids, objects = labels / f"{stem}_labelIds.png", labels / f"{stem}_instanceIds.png"
        label = own_ids if own_ids.is_file() else present(labels / f"{stem}_labelTrainIds.png")
        stills.append(partial(_read, picture, label, objects if objects.is_file() else None))
    return LabeledStills(CITYSCAPES, list(stills))


def _read(picture: Path, label: Path, objects: Path | None) -> Still:
    image = image_of(picture)
    size = size_of(image)
    if label.name.endswith("_labelIds.png"):
        classes = torch.from_numpy(CLASS_OF_ID[class_map(label, size, VOID).ids.numpy()])
    else:
        classes = class_map(label, size, len(CITYSCAPES)).ids
    if objects is None:
        instances = objects_in(classes, THINGS)
    else:
        numbers = np.array(read_png(objects, size), dtype=np.int32)
        instances = torch.from_numpy(np.where(numbers >= 1000, numbers, 0))
    return Still(picture.name.removesuffix(ENDING), image, classes, instances)
