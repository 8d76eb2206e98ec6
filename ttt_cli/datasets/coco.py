"""COCO's stills and instances: annotations/instances.json and images/. Each picture is a video of one frame."""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from pathlib import Path

from pycocotools import mask as coco_mask

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.labels import Instance, Instances
from ttt_cli.datasets.coco_json import CocoFile, read_coco
from ttt_cli.datasets.coco_masks import mask_of
from ttt_cli.datasets.json_file import Record, field, flag, inside
from ttt_cli.datasets.stream import Stream, StreamRequest, dropped_warnings
from ttt_cli.video.opening import open_input


def coco_streams(request: StreamRequest) -> list[Stream]:
    """A stream for each picture, with the picture's name, sorted by image id.

    request.truth is the JSON file, or the folder that contains instances.json or annotations/instances.json. Warnings
    count missing pictures and objects without area. Raises TttvError if annotations are malformed or all pictures are
    missing.
    """
    file = _annotations(request.truth)
    coco = read_coco(file, "segmentation")
    classes = tuple(coco.categories.values())
    images = request.images or _images_beside(file)
    paths = {number: inside(images, picture.file_name, file) for number, picture in sorted(coco.pictures.items())}
    present = {number: path for number, path in paths.items() if os.path.isfile(path)}
    what = f"pictures that are not in {printable(images)}"
    warnings = dropped_warnings(len(paths) - len(present), len(paths), what, printable(file))

    annotations = annotations_by_picture(coco)
    streams, objects, without_area = [], 0, 0
    for number, path in present.items():
        video = open_input(path, request.wanted)
        coco.pictures[number].check_size(video, file)
        instances = [instance_of(annotation, video.size, coco) for annotation in annotations[number]]
        kept = tuple(instance for instance in instances if coco_mask.area(instance.mask))
        objects, without_area = objects + len(instances), without_area + len(instances) - len(kept)
        truth = {video.name: Instances(kept, video.size)}.get
        streams.append(Stream(video.name, classes, video, truth, label_files=(file,)))
    warnings += dropped_warnings(without_area, objects, "objects whose mask has no area", printable(file))
    return [dataclasses.replace(streams[0], warnings=warnings), *streams[1:]]


def _annotations(truth: Path) -> Path:
    if not truth.is_dir():
        return truth
    file = truth / "instances.json"
    return file if file.is_file() else truth / "annotations" / "instances.json"


def _images_beside(file: Path) -> Path:
    beside = file.parent / "images"
    return beside if beside.is_dir() else file.parent.parent / "images"


def annotations_by_picture(coco: CocoFile) -> defaultdict[int, list[Record]]:
    """Annotations by image id. Raises TttvError if two have one id."""
    pictures: defaultdict[int, list[Record]] = defaultdict(list)
    numbers: set[int] = set()
    for annotation in coco.annotations:
        number = field(annotation, "id", int, coco.path)
        if number in numbers:
            raise TttvError(f"{printable(coco.path)}: has two annotations with the id {number}; remove one of them")
        numbers.add(number)
        pictures[annotation["image_id"]].append(annotation)
    return pictures


def instance_of(annotation: Record, size: tuple[int, int], coco: CocoFile) -> Instance:
    """The object of an annotation in a picture of `size` (height, width). Raises TttvError if it is malformed."""
    class_id = coco.class_id(annotation)
    if "segmentation" not in annotation:
        where = f"{printable(coco.path)}: the annotation {annotation['id']}"
        raise TttvError(f"{where} has no segmentation; add it, or remove the annotation")
    mask = mask_of(annotation["segmentation"], size, coco.path)
    return Instance(class_id, mask, is_crowd=flag(annotation, "iscrowd", False, coco.path))
