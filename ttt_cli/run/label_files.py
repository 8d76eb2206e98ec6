"""Predictions in the formats of the field's benchmarks: palette PNG, COCO results, COCO panoptic, KITTI-STEP.

A picture has the same number in all of them: the index of its frame.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from ttt_cli.core.classes import Class
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.frame import Frame
from ttt_cli.core.labels import Instances, Labels, PanopticMap, Rle, encode
from ttt_cli.draw.overlay import palette_png
from ttt_cli.run.folder import RunFolder


class LabelFile(ABC):
    """One format, for all frames of a video."""

    def __init__(self, folder: RunFolder, classes: Sequence[Class]) -> None:
        self.folder, self.classes = folder, classes

    @abstractmethod
    def write(self, frame: Frame, labels: Labels) -> None:
        """Takes the labels of one more frame, as large as the frame."""

    def close(self) -> None:  # noqa: B027
        """Finishes what is written once for the whole video; most formats have nothing of the kind."""


class Palette(LabelFile):
    """masks/NAME.png: the class of every pixel; 255 is none."""

    def write(self, frame: Frame, labels: Labels) -> None:
        self.folder.masks.mkdir(exist_ok=True)
        palette_png(self.folder.masks / f"{frame.name}.png", labels.class_map(), [one.color for one in self.classes])


class CocoResults(LabelFile):
    """instances.json, COCO's results; coco.json, the pictures and categories that its numbers stand for."""

    def __init__(self, folder: RunFolder, classes: Sequence[Class]) -> None:
        super().__init__(folder, classes)
        self.found, self.pictures = _Entries(), _Entries()

    def write(self, frame: Frame, labels: Labels) -> None:
        self.pictures.add(_picture(frame))
        for one in Instances.expect(labels).objects:
            self.found.add(
                {
                    "image_id": frame.index,
                    "category_id": one.class_id,
                    "segmentation": {"size": one.mask["size"], "counts": one.mask["counts"].decode("ascii")},
                    "bbox": _box(one.mask),
                    "score": round(one.score, 6),
                    "track_id": one.number,
                }
            )

    def close(self) -> None:
        with self.folder.instances.open("w", encoding="utf-8") as file:
            self.found.write_to(file)
        _write_coco(self.folder.coco, self.classes, {"images": self.pictures, "annotations": _Entries()})


class CocoPanoptic(LabelFile):
    """panoptic/NAME.png, a segment's id as R + 256 G + 65536 B, and panoptic.json, what the ids stand for."""

    def __init__(self, folder: RunFolder, classes: Sequence[Class]) -> None:
        super().__init__(folder, classes)
        self.annotations, self.pictures = _Entries(), _Entries()

    def write(self, frame: Frame, labels: Labels) -> None:
        regions = PanopticMap.expect(labels)
        ids = regions.ids.numpy()
        path = self.folder.panoptic / f"{frame.name}.png"
        _color_png(path, ids & 255, ids >> 8 & 255, ids >> 16)
        masks = {one.id: encode(ids == one.id) for one in regions.segments}
        segments = [
            {
                "id": one.id,
                "category_id": one.class_id,
                "iscrowd": 0,
                "area": int(coco_mask.area(masks[one.id])),
                "bbox": _box(masks[one.id]),
                "track_id": one.number,
            }
            for one in regions.segments
        ]
        self.pictures.add(_picture(frame))
        self.annotations.add({"image_id": frame.index, "file_name": path.name, "segments_info": segments})

    def close(self) -> None:
        lists = {"images": self.pictures, "annotations": self.annotations}
        _write_coco(self.folder.panoptic_json, self.classes, lists)


class KittiStep(LabelFile):
    """kitti_step/NAME.png: R the class, 255 where there is none; 256 G + B the object's number, 0 for stuff."""

    def write(self, frame: Frame, labels: Labels) -> None:
        regions = PanopticMap.expect(labels)
        classes = regions.class_map().numpy()
        numbers = np.zeros(1 + max((one.id for one in regions.segments), default=0), np.int32)
        for one in regions.segments:
            numbers[one.id] = one.number
        objects = numbers[regions.ids.numpy()]
        _color_png(self.folder.kitti_step / f"{frame.name}.png", classes, objects >> 8 & 255, objects & 255)


FORMATS: dict[str, dict[str, type[LabelFile]]] = {
    "semantic": {"palette": Palette},
    "instance": {"coco": CocoResults},
    "panoptic": {"palette": Palette, "coco": CocoPanoptic, "kitti-step": KittiStep},
    "colorization": {},
}
"""By task; all but kitti-step are written unless others are asked for."""
NOT_BY_DEFAULT = ("kitti-step",)


def check_formats(task: str, wanted: Sequence[str]) -> None:
    """Raises UsageError for a format that the task does not have."""
    for name in wanted:
        if name not in FORMATS[task]:
            known = ", ".join(FORMATS[task]) or "none"
            raise UsageError(f"format {printable(name)!r} is none of the task {task}; it has {known}")


def label_files(task: str, wanted: Sequence[str], folder: RunFolder, classes: Sequence[Class]) -> list[LabelFile]:
    """The formats of `wanted`, or where that is empty those that the task writes by default."""
    names = wanted or [name for name in FORMATS[task] if name not in NOT_BY_DEFAULT]
    return [FORMATS[task][name](folder, classes) for name in names]


class _Entries:
    """A list of JSON that is kept on disk until its place in a file is known, however long the video is."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self.between = ""

    def add(self, entry: dict[str, Any]) -> None:
        self.file.write(self.between + json.dumps(entry))
        self.between = ",\n"

    def write_to(self, file: IO[str]) -> None:
        """Copies the list, and forgets it."""
        with self.file:
            self.file.seek(0)
            file.write("[")
            shutil.copyfileobj(self.file, file)
            file.write("]")


def _picture(frame: Frame) -> dict[str, Any]:
    height, width = frame.image.shape[-2:]
    return {"id": frame.index, "file_name": f"{frame.name}.png", "height": height, "width": width}


def _write_coco(path: Path, classes: Sequence[Class], lists: dict[str, _Entries]) -> None:
    """A COCO file: the classes as categories, and the lists by their names."""
    categories = [
        {"id": index, "name": one.name, "isthing": int(one.is_thing), "color": one.color}
        for index, one in enumerate(classes)
    ]
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"categories": {json.dumps(categories)}')
        for name, entries in lists.items():
            file.write(f', "{name}": ')
            entries.write_to(file)
        file.write("}")


def _box(mask: Rle) -> list[float]:
    """[left, top, width, height] in pixels."""
    return [float(value) for value in coco_mask.toBbox(mask)]


def _color_png(path: Path, *channels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).save(path)
