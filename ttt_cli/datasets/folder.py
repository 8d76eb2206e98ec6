"""A user's own labels: frames in images/ and, by task, class ids in labels/ or COCO panoptic annotations.

Semantic: labels/NAME.png, and classes.json; 255 is void. Instance and panoptic: panoptic.json, and its PNGs in
panoptic/. If it has no categories, they are the classes of classes.json, numbered from 0.

classes.json, which may also be in the parent folder, is a list of classes in the order of their ids: names, or records
as COCO has them for categories, {"name", "color": [r, g, b], "isthing"}, of which only the name is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ttt_cli.core.class_names import check_renames, differs, positions_in, unlabeled
from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.frame import Video
from ttt_cli.core.known_classes import classes_named
from ttt_cli.core.labels import Labels
from ttt_cli.datasets.coco_panoptic import panoptic_stream
from ttt_cli.datasets.json_file import Record, check_classes, checked, color, field, flag, read_json
from ttt_cli.datasets.labels import class_map, label_truth
from ttt_cli.datasets.stream import Stream, StreamRequest, open_frames, stream_folders

CLASSES_FILE = "classes.json"


def folder_streams(request: StreamRequest) -> list[Stream]:
    """The video in the folder request.truth, or the videos in the folders just below it, sorted by name.

    Raises TttvError if there is no video, or labels for the task are missing or malformed.
    """
    labels = "labels" if request.task == "semantic" else "panoptic"
    folders = stream_folders(request.truth, (labels,) if request.images else ("images",))
    return [_stream(folder, request, only_video=len(folders) == 1) for folder in folders]


def _stream(folder: Path, request: StreamRequest, only_video: bool) -> Stream:
    video = open_frames(request, folder.name, folder / "images", only_video)
    classes_file = classes_file_of(folder) or folder / CLASSES_FILE
    if request.task != "semantic":
        categories = dict(enumerate(read_classes(classes_file))) if classes_file.is_file() else None
        return panoptic_stream(video, request.task, folder / "panoptic.json", folder / "panoptic", categories)
    classes = read_classes(classes_file)
    labels = folder / "labels"
    truth = label_truth(labels, video, lambda path: class_map(path, video.size, len(classes)))
    return Stream(folder.name, classes, video, truth, label_files=(labels, classes_file))


def labels_of_run(
    labels: Path, video: Video, known: Sequence[Class], renames: Mapping[str, str]
) -> tuple[Callable[[str], Labels | None], frozenset[int]]:
    """The truth in a folder of label PNGs, as the classes that the weights know, and those of them without a label.

    The ids are of the classes of a classes.json in or above the folder, as in `folder_streams`, whose names may be
    mapped; without one they are the weights' own, and the id after the last is void. Raises TttvError if the labels
    cannot be used, UsageError if `renames` names what there is not.
    """
    names = [class_.name for class_ in known]
    classes_file = classes_file_of(labels) or classes_file_of(labels.parent)
    if classes_file is None:
        if renames:
            raise UsageError(f"{printable(labels)}: --map needs a {CLASSES_FILE} beside the labels, with their names")
        void = len(known)
        return label_truth(labels, video, lambda path: class_map(path, video.size, void, void)), frozenset()
    labeled = [class_.name for class_ in read_classes(classes_file)]
    check_renames(renames, labeled, names)
    try:
        positions = positions_in(names, labeled, renames)
    except KeyError as error:
        raise TttvError(f"{printable(classes_file)}: {differs(error.args, names)}") from None
    truth = label_truth(labels, video, lambda path: class_map(path, video.size, len(labeled)).renamed(positions))
    return truth, unlabeled(names, positions)


def classes_file_of(folder: Path) -> Path | None:
    """The classes.json in the folder, or in the one above; None if there is none."""
    places = (folder / CLASSES_FILE, folder.parent / CLASSES_FILE)
    return next((place for place in places if place.is_file()), None)


def read_classes(path: Path) -> tuple[Class, ...]:
    """The classes in a file classes.json. Raises TttvError if it is malformed."""
    entries = checked(read_json(path), list, "the classes", path)
    records = [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
    records = [checked(record, dict, "each of the classes", path) for record in records]
    usual = classes_named([field(record, "name", str, path) for record in records])
    check_classes(usual, path)
    return tuple(_class_of(record, number, usual[number], path) for number, record in enumerate(records))


def _class_of(record: Record, number: int, usual: Class, path: Path) -> Class:
    """The class of a record; `usual` has what it does not say."""
    if record.get("id", number) != number:
        found = printable(record["id"])
        raise TttvError(f"{printable(path)}: class {number} of the list has the id {found}; ids count from 0")
    shown = color(record.get("color", record.get("colour", list(usual.color))), path)
    key = "is_thing" if "is_thing" in record else "isthing"
    return Class(usual.name, shown, flag(record, key, usual.is_thing, path))
