"""Your own stills: pictures in images/, and labels as `tttv eval --dataset folder` reads them (datasets/folder.py).

Either panoptic.json and its PNGs in panoptic/, or class ids in labels/NAME.png; then the connected components of things
stand in for objects. classes.json names the classes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ttt_cli.core.classes import Class, things_of
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.datasets.coco_json import read_coco
from ttt_cli.datasets.folder import read_classes
from ttt_cli.datasets.labels import class_map
from ttt_cli.training.sources.files import image_of, objects_in, panoptic_stills, pictures_in, readers, size_of
from ttt_cli.training.stills import LabeledStills, Still


def folder(root: Path, split: str) -> LabeledStills:
    """Every labeled picture. Raises TttvError if there are none, or classes are missing or malformed."""
    pictures, classes_file, panoptic = pictures_in(root / "images"), root / "classes.json", root / "panoptic.json"
    if panoptic.is_file():
        categories = dict(enumerate(read_classes(classes_file))) if classes_file.is_file() else None
        return panoptic_stills(pictures, read_coco(panoptic, "segments_info", categories), root / "panoptic")
    classes, labels = read_classes(classes_file), root / "labels"
    labeled = [picture for picture in pictures if (labels / f"{picture.stem}.png").is_file()]
    if not labeled:
        raise TttvError(f"{printable(labels)}: has no label PNGs named like the pictures; see docs/data.md")
    pairs = ((picture, labels / f"{picture.stem}.png") for picture in labeled)
    return LabeledStills(classes, readers(partial(_read, classes), pairs))


def _read(classes: tuple[Class, ...], picture: Path, label: Path) -> Still:
    image = image_of(picture)
    ids = class_map(label, size_of(image), len(classes)).ids
    return Still(picture.stem, image, ids, objects_in(ids, things_of(classes)))
