"""ADE20K's scene parsing benchmark, ADEChallengeData2016: images/{training,validation}, annotations of the same names.

A label has 0 for void and 1 to 150 for a class in each pixel. Objects are not told apart, so that every class is stuff.
"""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np
import torch

from ttt_cli.core.classes import VOID, Class
from ttt_cli.core.coco_classes import color_of
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.datasets.json_file import check_classes
from ttt_cli.datasets.labels import class_map
from ttt_cli.training.sources.files import image_of, pictures_in, readers, size_of
from ttt_cli.training.stills import LabeledStills, Still

logger = logging.getLogger(__name__)

FOLDERS = {"train": "training", "val": "validation"}
CLASSES = 150
NAMES = "objectInfo150.txt"


def ade20k(folder: Path, split: str) -> LabeledStills:
    """Every picture of a split. Raises TttvError if there are none, a label is missing, or NAMES is malformed."""
    pictures = pictures_in(folder / "images" / FOLDERS[split])
    annotations = folder / "annotations" / FOLDERS[split]
    pairs = ((picture, annotations / f"{picture.stem}.png") for picture in pictures)
    return LabeledStills(_classes(folder / NAMES), readers(_read, pairs))


def _classes(path: Path) -> tuple[Class, ...]:
    """The first of the names of each class; numbers, and a warning, if the file is missing."""
    if path.is_file():
        names = _names(path)
    else:
        logger.warning("%s: there is no such file, so classes are numbered instead of named", printable(path))
        names = [str(number) for number in range(1, CLASSES + 1)]
    classes = tuple(Class(name, color_of(name, index), False) for index, name in enumerate(names))
    check_classes(classes, path)
    return classes


def _names(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, delimiter="\t"))
        rows = [{key.strip(): value for key, value in line.items()} for line in lines]
        names = {int(row["Idx"]): row["Name"].partition(",")[0].strip() for row in rows}
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        raise TttvError(f"{printable(path)}: is no table with columns Idx and Name; get a complete copy") from error
    if sorted(names) != list(range(1, CLASSES + 1)):
        raise TttvError(f"{printable(path)}: must name the classes 1 to {CLASSES}; get a complete copy")
    return [names[number] for number in range(1, CLASSES + 1)]


def _read(picture: Path, label: Path) -> Still:
    image = image_of(picture)
    ids = class_map(label, size_of(image), CLASSES + 1).ids.numpy()
    # In 8 bits, 0 - 1 is 255, which is void.
    classes = torch.from_numpy(ids - np.uint8(1)).masked_fill(torch.from_numpy(ids == VOID), VOID)
    return Still(picture.stem, image, classes, torch.zeros(classes.shape, dtype=torch.int32))
