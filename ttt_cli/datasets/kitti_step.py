"""KITTI-STEP: drives in images/{train,val}/NNNN, labels of the same names in panoptic_maps/{train,val}/NNNN.

In a label, R is the class and 256 G + B is the object.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ttt_cli.core.cityscapes_classes import CITYSCAPES
from ttt_cli.core.classes import VOID, things_of
from ttt_cli.core.errors import printable
from ttt_cli.core.labels import Labels
from ttt_cli.datasets.labels import known_classes, label_truth, read_rgb
from ttt_cli.datasets.regions import Region, map_of_objects
from ttt_cli.datasets.stream import Stream, StreamRequest, dropped_warnings, labels_for, open_frames

# Cityscapes' classes, of whose things KITTI-STEP labels two as separate objects.
KITTI_STEP = tuple(replace(kind, is_thing=kind.name in ("person", "car")) for kind in CITYSCAPES)
THINGS = things_of(KITTI_STEP)

# The paper validates on "val" and tests on "train".
SEQUENCES = {
    "val": ("0002", "0006", "0007", "0008", "0010", "0013", "0014", "0016", "0018"),
    "train": ("0000", "0001", "0003", "0004", "0005", "0009", "0011", "0012", "0015", "0017", "0019", "0020"),
}


def kitti_step_streams(request: StreamRequest) -> list[Stream]:
    """The drives of request.split (default: val); request.truth is the root of the data set.

    A warning counts missing drives. Raises TttvError if all are missing.
    """
    split = request.split or "val"
    maps, frames = request.truth / "panoptic_maps" / split, request.truth / "images" / split
    listed = SEQUENCES[split]
    present = [name for name in listed if (maps / name).is_dir()]
    what = f"drives of the split {split} that are not on disk"
    warnings = dropped_warnings(len(listed) - len(present), len(listed), what, printable(maps))
    streams: list[Stream] = []
    for name in present:
        video = open_frames(request, name, frames / name, only_video=len(present) == 1)
        truth = label_truth(maps / name, video, partial(_read, size=video.size, task=request.task))
        streams.append(Stream(name, KITTI_STEP, video, truth, () if streams else warnings, (maps / name,)))
    return streams


def _read(path: Path, size: tuple[int, int], task: str) -> Labels:
    red, green, blue = read_rgb(path, size).transpose(2, 0, 1)
    classes = known_classes(red, len(KITTI_STEP), path)
    # A crowd counts here: its class is known, only its objects are not separate.
    if task == "semantic":
        return classes
    instances = np.where(np.isin(red, list(THINGS)), 256 * green + blue, 0)
    return labels_for(task, map_of_objects(classes.ids.numpy(), instances, _region), KITTI_STEP)


def _region(class_id: int, instance: int) -> Region | None:
    return None if class_id == VOID else (class_id, class_id in THINGS and instance == 0)
