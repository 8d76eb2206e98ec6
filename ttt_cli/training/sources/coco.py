"""COCO: pictures in train2017/ and val2017/, annotations/instances_*.json and annotations/panoptic_*.json.

A part of COCO without splits, as `tttv eval --dataset coco` reads it, does too: images/ and annotations/instances.json.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from pycocotools import mask as coco_mask

from ttt_cli.core.classes import VOID
from ttt_cli.core.labels import Instance
from ttt_cli.datasets.coco import annotations_by_picture, instance_of
from ttt_cli.datasets.coco_json import CocoFile, read_coco
from ttt_cli.datasets.json_file import Record, inside
from ttt_cli.training.sources.files import image_of, panoptic_stills, pictures_in, present, size_of
from ttt_cli.training.stills import LabeledStills, Still

YEAR = 2017


def coco(folder: Path, split: str) -> LabeledStills:
    """The pictures of a split that have objects. What is no object, or a crowd of them, is void.

    Raises TttvError if annotations are malformed or a picture is missing.
    """
    annotations, images = folder / "annotations", folder / f"{split}{YEAR}"
    file = annotations / f"instances_{split}{YEAR}.json"
    if split == "train" and not file.is_file() and (annotations / "instances.json").is_file():
        file, images = annotations / "instances.json", folder / "images"
    content = read_coco(file, "segmentation")
    objects = annotations_by_picture(content)
    named = sorted((present(inside(images, content.pictures[number].file_name, file)), number) for number in objects)
    readers = [partial(_read, picture, objects[number], content) for picture, number in named]
    return LabeledStills(tuple(content.categories.values()), list(readers))


def coco_panoptic(folder: Path, split: str) -> LabeledStills:
    """The pictures of a split that have a panoptic label."""
    annotations, name = folder / "annotations", f"panoptic_{split}{YEAR}"
    content = read_coco(annotations / f"{name}.json", "segments_info")
    return panoptic_stills(pictures_in(folder / f"{split}{YEAR}"), content, annotations / name)


def _read(picture: Path, annotations: list[Record], content: CocoFile) -> Still:
    image = image_of(picture)
    instances = [instance_of(annotation, size_of(image), content) for annotation in annotations]
    classes = torch.full(size_of(image), VOID, dtype=torch.uint8)
    numbers = torch.zeros(size_of(image), dtype=torch.int32)
    # Objects overlap, but a pixel has one label: that of the smallest object.
    for number, instance in enumerate(sorted(instances, key=_pixels, reverse=True), 1):
        if not instance.is_crowd:
            mask = torch.from_numpy(coco_mask.decode(instance.mask)).bool()
            classes[mask], numbers[mask] = instance.class_id, number
    return Still(picture.stem, image, classes, numbers)


def _pixels(instance: Instance) -> int:
    return int(coco_mask.area(instance.mask))
