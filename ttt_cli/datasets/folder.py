"""A user's own labels: frames in images/ and, by task, class ids in labels/ or COCO panoptic annotations.

Semantic: labels/NAME.png, and classes.json, a list of {"name", "color": [r, g, b], "is_thing"} in the order of the
ids; 255 is void. Instance and panoptic: panoptic.json, and its PNGs in panoptic/. Where it has no categories, those are
the classes of classes.json, from 0. classes.json may also be one folder above.
"""

from __future__ import annotations

from pathlib import Path

from ttt_cli.core.classes import Class
from ttt_cli.datasets.coco_panoptic import panoptic_stream
from ttt_cli.datasets.json_file import check_classes, color, field, flag, read_json, records
from ttt_cli.datasets.labels import class_map, label_truth
from ttt_cli.datasets.stream import Stream, StreamRequest, open_frames, stream_folders


def folder_streams(request: StreamRequest) -> list[Stream]:
    """The video of the folder asked for, or those of the folders just below it, in order of name.

    Raises TttvError where there is none, or labels for the task are missing or not as they should be.
    """
    labels = "labels" if request.task == "semantic" else "panoptic"
    folders = stream_folders(request.truth, (labels,) if request.images else ("images",))
    return [_stream(folder, request, alone=len(folders) == 1) for folder in folders]


def _stream(folder: Path, request: StreamRequest, alone: bool) -> Stream:
    video = open_frames(request, folder.name, folder / "images", alone)
    own, above = folder / "classes.json", folder.parent / "classes.json"
    listed = above if above.is_file() and not own.is_file() else own
    if request.task != "semantic":
        categories = dict(enumerate(_classes(listed))) if listed.is_file() else None
        return panoptic_stream(video, request.task, folder / "panoptic.json", folder / "panoptic", categories)
    classes = _classes(listed)
    truth = label_truth(folder / "labels", video, lambda path: class_map(path, video.size, len(classes)))
    return Stream(folder.name, classes, video, truth)


def _classes(path: Path) -> tuple[Class, ...]:
    classes = tuple(
        Class(
            field(one, "name", str, path),
            color(one.get("color", one.get("colour")), path),
            flag(one, "is_thing", None, path),
        )
        for one in records(read_json(path), "classes", path)
    )
    check_classes(classes, path)
    return classes
