"""COCO panoptic annotations: a JSON file that names the segments, and PNGs with id = R + 256 G + 65536 B."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ttt_cli.core.classes import Class, things_of
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.frame import Video
from ttt_cli.core.labels import Labels, PanopticMap
from ttt_cli.datasets.coco_json import CocoFile, read_coco
from ttt_cli.datasets.json_file import Record, field, flag, inside, records
from ttt_cli.datasets.labels import read_rgb
from ttt_cli.datasets.regions import Region, distinct, panoptic_map
from ttt_cli.datasets.stream import Stream, dropped_warnings, frame_numbers_of, labels_for

IGNORED = 255
"""The category of segments without a class. They are void, as are pixels with the id 0."""


@dataclass(frozen=True)
class PanopticLabel:
    """The label of one frame."""

    png: Path
    """Its PNG, which may be missing."""
    regions: dict[int, Region | None]
    """The region of each id in the PNG; None is void."""
    json_file: Path
    """The file that describes it."""

    def read(self, size: tuple[int, int]) -> PanopticMap:
        """Raises TttvError if the PNG does not match the JSON file or `size` (height, width)."""
        red, green, blue = read_rgb(self.png, size).transpose(2, 0, 1)
        ids, positions = distinct(red + 256 * green + 65536 * blue)
        png, file = printable(self.png), printable(self.json_file)
        for number in ids:
            if number not in self.regions:
                raise TttvError(f"{png}: holds the id {number}, which is no segment of it in {file}; correct either")
        absent = sorted(self.regions.keys() - {0, *ids})
        if absent:
            raise TttvError(f"{png}: has no pixel of the segment {absent[0]}, which is in {file}; correct either")
        return panoptic_map(positions, [self.regions[number] for number in ids])


def panoptic_stream(
    video: Video,
    task: str,
    file: Path,
    pngs: Path,
    categories: dict[int, Class] | None = None,
    scored_frames: int | None = None,
) -> Stream:
    """The labels of `video` in the JSON `file`, for the task semantic, instance or panoptic.

    pngs: the folder of the file's PNGs, or the folder below it that belongs to the video. categories: by id, for files
    without categories. scored_frames: how many frames, from the first of the input, can have a label.

    Raises TttvError if the file is malformed, or has no label whose frame and PNG are on disk.
    """
    coco = read_coco(file, "segments_info", categories)
    labels = labels_of(coco, pngs)
    number_of = frame_numbers_of(video)
    for picture in coco.pictures.values():
        if number_of(picture.name) is not None:
            picture.check_size(video, file)
    frames = {name: label for name, label in labels.items() if number_of(name) is not None}
    ready = {name: label for name, label in frames.items() if os.path.isfile(label.png)}
    what = f"labels without a frame in {printable(video.path)}"
    warnings = dropped_warnings(len(labels) - len(frames), len(labels), what, printable(file))
    what = f"labels without a PNG in {printable(pngs)}"
    warnings += dropped_warnings(len(frames) - len(ready), len(frames), what, printable(file))
    classes = _classes_for(task, tuple(coco.categories.values()))

    def truth(name: str) -> Labels | None:
        number = number_of(name)
        if name not in ready or number is None or (scored_frames is not None and number >= scored_frames):
            return None
        return labels_for(task, ready[name].read(video.size), classes)

    read = (file, *(label.png for label in ready.values()))
    return Stream(video.name, classes, video, truth, warnings, read)


def _classes_for(task: str, classes: tuple[Class, ...]) -> tuple[Class, ...]:
    """For the task instance, the classes up to the last thing: 80 of COCO's 133. Ids do not change."""
    return classes[: 1 + max(things_of(classes), default=-1)] if task == "instance" else classes


def labels_of(coco: CocoFile, pngs: Path) -> dict[str, PanopticLabel]:
    """The labels in a file, by frame name. pngs: as in `panoptic_stream`. Raises TttvError if they are malformed."""
    labels: dict[str, PanopticLabel] = {}
    for annotation in coco.annotations:
        name, number = coco.pictures[annotation["image_id"]].name, annotation["image_id"]
        if name in labels:
            raise TttvError(f"{printable(coco.path)}: has two annotations of the image {number}; remove one of them")
        relative = field(annotation, "file_name", str, coco.path)
        png, above = inside(pngs, relative, coco.path), inside(pngs.parent, relative, coco.path)
        if os.path.isfile(above) and not os.path.isfile(png):
            png = above
        labels[name] = PanopticLabel(png, _regions(annotation, coco), coco.path)
    return labels


def _regions(annotation: Record, coco: CocoFile) -> dict[int, Region | None]:
    """The region of each id in an annotation's PNG."""
    regions: dict[int, Region | None] = {0: None}
    for segment in records(field(annotation, "segments_info", list, coco.path), "segments_info", coco.path):
        number, is_crowd = field(segment, "id", int, coco.path), flag(segment, "iscrowd", False, coco.path)
        if number in regions:
            where = f"{printable(coco.path)}: the image {annotation['image_id']}"
            raise TttvError(f"{where} has two segments with the id {number}, or one with 0; correct it")
        ignored = segment.get("category_id") == IGNORED and IGNORED not in coco.categories
        regions[number] = None if ignored else (coco.class_id(segment), is_crowd)
    return regions
