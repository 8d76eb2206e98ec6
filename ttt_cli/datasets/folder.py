"""A user's own labels: frames in images/ and, by task, class ids in labels/ or COCO panoptic annotations.

Semantic: labels/NAME.png, and classes.json, a list of {"name", "color": [r, g, b], "is_thing"} in the order of the
ids; 255 is void. Instance and panoptic: panoptic.json, and its PNGs in panoptic/. If it has no categories, they are the
classes of classes.json, numbered from 0. classes.json may also be in the parent folder.
"""

from __future__ import annotations

from pathlib import Path

from ttt_cli.core.classes import Class
from ttt_cli.datasets.coco_panoptic import panoptic_stream
from ttt_cli.datasets.json_file import check_classes, color, field, flag, read_json, records
from ttt_cli.datasets.labels import class_map, label_truth
from ttt_cli.datasets.stream import Stream, StreamRequest, open_frames, stream_folders


def folder_streams(request: StreamRequest) -> list[Stream]:
    """The video in the folder request.truth, or the videos in the folders just below it, sorted by name.

    Raises TttvError if there is no video, or labels for the task are missing or malformed.
    """
    labels = "labels" if request.task == "semantic" else "panoptic"
    folders = stream_folders(request.truth, (labels,) if request.images else ("images",))
    return [_stream(folder, request, only_video=len(folders) == 1) for folder in folders]


def _stream(folder: Path, request: StreamRequest, only_video: bool) -> Stream:
    video = open_frames(request, folder.name, folder / "images", only_video)
    classes_file, above = folder / "classes.json", folder.parent / "classes.json"
    if above.is_file() and not classes_file.is_file():
        classes_file = above
    if request.task != "semantic":
        categories = dict(enumerate(read_classes(classes_file))) if classes_file.is_file() else None
        return panoptic_stream(video, request.task, folder / "panoptic.json", folder / "panoptic", categories)
    classes = read_classes(classes_file)
    labels = folder / "labels"
    truth = label_truth(labels, video, lambda path: class_map(path, video.size, len(classes)))
    return Stream(folder.name, classes, video, truth, label_files=(labels, classes_file))


def read_classes(path: Path) -> tuple[Class, ...]:
    """The classes in a file classes.json. Raises TttvError if it is malformed."""
    classes = tuple(
        Class(
            field(record, "name", str, path),
            color(record.get("color", record.get("colour")), path),
            flag(record, "is_thing", None, path),
        )
        for record in records(read_json(path), "classes", path)
    )
    check_classes(classes, path)
    return classes
