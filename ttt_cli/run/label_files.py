"""Writes predictions in the formats of benchmarks: palette PNG, COCO results, COCO panoptic, KITTI-STEP.

In all of them a picture's number is the index of its frame.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from ttt_cli.core.choices import choices
from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.frame import Frame
from ttt_cli.core.labels import Instances, Labels, PanopticMap, Rle, encode
from ttt_cli.draw.overlay import palette_png
from ttt_cli.run.appended_log import AppendedLog
from ttt_cli.run.label_paths import LabelPaths


class LabelFile(ABC):
    """Writes all frames of a video in one format."""

    def __init__(self, folder: LabelPaths, classes: Sequence[Class]) -> None:
        self.folder, self.classes = folder, classes

    @abstractmethod
    def write(self, frame: Frame, labels: Labels) -> None:
        """Adds the labels of the next frame, at the frame's size."""

    def collections(self) -> list[AppendedLog]:
        """Where entries are collected until `close`."""
        return []

    def close(self) -> None:  # noqa: B027
        """Writes the files that cover the whole video, if the format has any."""

    def pictures(self) -> Path | None:
        """The folder that gets a picture of every frame, if the format has one."""
        return None

    def files(self) -> list[Path]:
        """What `close` writes."""
        return []


class Palette(LabelFile):
    """masks/NAME.png: the class id of every pixel; 255 is none."""

    def write(self, frame: Frame, labels: Labels) -> None:
        path = _new(self.folder.masks / f"{frame.name}.png")
        palette_png(path, labels.class_map(), [kind.color for kind in self.classes])

    def pictures(self) -> Path | None:
        return self.folder.masks


class CocoResults(LabelFile):
    """instances.json, in COCO's results format, and coco.json, which lists the pictures and categories it refers to."""

    def __init__(self, folder: LabelPaths, classes: Sequence[Class]) -> None:
        super().__init__(folder, classes)
        self.results, self._images = _entries(folder, "results"), _entries(folder, "images")

    def collections(self) -> list[AppendedLog]:
        return [self.results, self._images]

    def write(self, frame: Frame, labels: Labels) -> None:
        self._images.add(json.dumps(_picture(frame)))
        for instance in Instances.expect(labels).objects:
            entry = {
                "image_id": frame.index,
                "category_id": instance.class_id,
                "segmentation": {"size": instance.mask["size"], "counts": instance.mask["counts"].decode("ascii")},
                "bbox": _box(instance.mask),
                "score": round(instance.score, 6),
                "track_id": instance.number,
            }
            self.results.add(json.dumps(entry))

    def close(self) -> None:
        with self.folder.instances.open("w", encoding="utf-8") as file:
            _copy_list(self.results, file)
        _write_coco(self.folder.coco, self.classes, {"images": self._images, "annotations": None})

    def files(self) -> list[Path]:
        return [self.folder.instances, self.folder.coco]


class CocoPanoptic(LabelFile):
    """panoptic/NAME.png, with segment ids as R + 256 G + 65536 B, and panoptic.json, which describes the segments."""

    def __init__(self, folder: LabelPaths, classes: Sequence[Class]) -> None:
        super().__init__(folder, classes)
        self.annotations, self._images = _entries(folder, "annotations"), _entries(folder, "images")

    def collections(self) -> list[AppendedLog]:
        return [self.annotations, self._images]

    def write(self, frame: Frame, labels: Labels) -> None:
        regions = PanopticMap.expect(labels)
        ids = regions.ids.numpy()
        path = self.folder.panoptic / f"{frame.name}.png"
        _color_png(path, ids & 255, ids >> 8 & 255, ids >> 16)
        masks = {segment.id: encode(ids == segment.id) for segment in regions.segments}
        segments = [
            {
                "id": segment.id,
                "category_id": segment.class_id,
                "iscrowd": 0,
                "area": int(coco_mask.area(masks[segment.id])),
                "bbox": _box(masks[segment.id]),
                "track_id": segment.number,
            }
            for segment in regions.segments
        ]
        self._images.add(json.dumps(_picture(frame)))
        entry = {"image_id": frame.index, "file_name": path.name, "segments_info": segments}
        self.annotations.add(json.dumps(entry))

    def close(self) -> None:
        lists = {"images": self._images, "annotations": self.annotations}
        _write_coco(self.folder.panoptic_json, self.classes, lists)

    def pictures(self) -> Path | None:
        return self.folder.panoptic

    def files(self) -> list[Path]:
        return [self.folder.panoptic_json]


class KittiStep(LabelFile):
    """kitti_step/NAME.png: R is the class, 255 for none; 256 G + B is the object's number, 0 for stuff."""

    def write(self, frame: Frame, labels: Labels) -> None:
        regions = PanopticMap.expect(labels)
        classes = regions.class_map().numpy()
        numbers = np.zeros(1 + max((segment.id for segment in regions.segments), default=0), np.int32)
        for segment in regions.segments:
            numbers[segment.id] = segment.number
        objects = numbers[regions.ids.numpy()]
        _color_png(self.folder.kitti_step / f"{frame.name}.png", classes, objects >> 8 & 255, objects & 255)

    def pictures(self) -> Path | None:
        return self.folder.kitti_step


FORMATS: dict[str, dict[str, type[LabelFile]]] = {
    "semantic": {"palette": Palette},
    "instance": {"coco": CocoResults},
    "panoptic": {"palette": Palette, "coco": CocoPanoptic, "kitti-step": KittiStep},
    "colorization": {},
}
"""By task. By default all are written except those in NOT_BY_DEFAULT."""
NOT_BY_DEFAULT = ("kitti-step",)


def check_formats(task: str, wanted: Sequence[str]) -> None:
    """Raises UsageError for a format that the task does not have."""
    for name in wanted:
        if name not in FORMATS[task]:
            raise UsageError(f"format {printable(name)!r} is none of the task {task}; {choices(name, FORMATS[task])}")


def label_files(task: str, wanted: Sequence[str], folder: LabelPaths, classes: Sequence[Class]) -> list[LabelFile]:
    """The writers for the formats in `wanted`, or for the task's default formats if it is empty."""
    names = wanted or [name for name in FORMATS[task] if name not in NOT_BY_DEFAULT]
    return [FORMATS[task][name](folder, classes) for name in names]


def _entries(folder: LabelPaths, name: str) -> AppendedLog:
    """A list of a COCO file, an entry a line, in a file, so that memory does not grow with the length of the video."""
    return AppendedLog(folder.unfinished / f"{name}{folder.suffix}.jsonl")


def _picture(frame: Frame) -> dict[str, Any]:
    height, width = frame.image.shape[-2:]
    return {"id": frame.index, "file_name": f"{frame.name}.png", "height": height, "width": width}


def _write_coco(path: Path, classes: Sequence[Class], lists: Mapping[str, AppendedLog | None]) -> None:
    """Writes a COCO file: the classes as categories, then each list under its name; None is an empty one."""
    categories = [
        {"id": index, "name": kind.name, "isthing": int(kind.is_thing), "color": kind.color}
        for index, kind in enumerate(classes)
    ]
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"categories": {json.dumps(categories)}')
        for name, entries in lists.items():
            file.write(f', "{name}": ')
            _copy_list(entries, file)
        file.write("}")


def _copy_list(entries: AppendedLog | None, file: IO[str]) -> None:
    file.write("[")
    if entries is not None:
        entries.flush()
        with entries.path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                file.write((",\n" if number else "") + line.rstrip("\n"))
    file.write("]")


def _box(mask: Rle) -> list[float]:
    """[left, top, width, height] in pixels."""
    return [float(value) for value in coco_mask.toBbox(mask)]


def _color_png(path: Path, *channels: np.ndarray) -> None:
    Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).save(_new(path))


def _new(path: Path) -> Path:
    """`path`, with its folder created. Raises TttvError if it exists: a run writes each once, so it is the user's."""
    path.parent.mkdir(exist_ok=True)
    if path.exists() or path.is_symlink():
        raise TttvError(f"{printable(path)}: exists, and no run wrote it; move it away, or name another --out")
    return path
