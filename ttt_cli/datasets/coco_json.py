"""The shared part of COCO's JSON files for instances and for panoptic segmentation.

If a file is malformed, every function here raises TttvError with one line that names the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from ttt_cli.core.classes import Class
from ttt_cli.core.coco_classes import color_of
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.frame import Video
from ttt_cli.datasets.json_file import Record, check_classes, checked, color, field, flag, read_json, records

# The key that every annotation of a kind of COCO file has.
FLAVORS = {"segments_info": "panoptic", "segmentation": "instances", "caption": "captions"}


@dataclass(frozen=True)
class Picture:
    """An image that a COCO file describes."""

    file_name: str
    """As in the file."""
    size: tuple[int, int]
    """(height, width)."""

    @property
    def name(self) -> str:
        """Name of its frame."""
        return PureWindowsPath(self.file_name).stem

    def check_size(self, video: Video, path: Path) -> None:
        """Raises TttvError if the frames do not have the size that the file says."""
        if self.size != video.size:
            said, real = (f"{width}x{height}" for height, width in (self.size, video.size))
            where = f"{printable(path)}: says that {printable(self.file_name)} is {said}"
            raise TttvError(f"{where}, but {printable(video.path)} is {real}; make them one size")


@dataclass(frozen=True)
class CocoFile:
    """The checked content of a COCO file."""

    path: Path
    pictures: dict[int, Picture]
    """By image id."""
    annotations: list[Record]
    """The image of each is in `pictures`."""
    categories: dict[int, Class]
    """By category id, in the order of the class ids."""

    def class_id(self, record: Record) -> int:
        """The class id of a record's category."""
        number = field(record, "category_id", int, self.path)
        if number not in self.categories:
            raise TttvError(f"{printable(self.path)}: has no category {number}, but says that something is of it")
        return list(self.categories).index(number)


def read_coco(path: Path, wanted: str, categories: dict[int, Class] | None = None) -> CocoFile:
    """Reads a file of the kind `wanted`, a key of FLAVORS.

    categories: for files without categories; None if the file must have them.
    """
    content = checked(read_json(path), dict, "a COCO file", path)
    annotations = records(field(content, "annotations", list, path), "annotations", path)
    if not annotations:
        raise TttvError(f"{printable(path)}: has no annotations; name another file")
    flavors = [flavor for key, flavor in FLAVORS.items() if key in annotations[0]]
    if flavors and wanted not in annotations[0]:
        raise TttvError(
            f"{printable(path)}: is COCO {flavors[0]}, where COCO {FLAVORS[wanted]} is wanted; name another file"
        )
    pictures = _pictures(records(field(content, "images", list, path), "images", path), path)
    for annotation in annotations:
        if field(annotation, "image_id", int, path) not in pictures:
            where = f"{printable(path)}: has no image {annotation['image_id']}"
            raise TttvError(f"{where}, but an annotation of it; correct either")
    if categories is None or "categories" in content:
        categories = _categories(field(content, "categories", list, path), path)
    return CocoFile(path, pictures, annotations, categories)


def _pictures(images: list[Record], path: Path) -> dict[int, Picture]:
    pictures: dict[int, Picture] = {}
    names = set()
    for image in images:
        number = field(image, "id", int, path)
        size = (field(image, "height", int, path), field(image, "width", int, path))
        picture = Picture(field(image, "file_name", str, path), size)
        if number in pictures or picture.name in names:
            shown = f"{number}, {printable(picture.file_name)}"
            raise TttvError(f"{printable(path)}: has two images of one id or one name ({shown}); remove one of them")
        pictures[number] = picture
        names.add(picture.name)
    return pictures


def _categories(content: object, path: Path) -> dict[int, Class]:
    categories: dict[int, Class] = {}
    for index, record in enumerate(records(content, "categories", path)):
        number, name = field(record, "id", int, path), field(record, "name", str, path)
        if number in categories:
            raise TttvError(f"{printable(path)}: has two categories with the id {number}; remove one of them")
        rgb = color(record["color"], path) if "color" in record else color_of(name, index)
        categories[number] = Class(name, rgb, flag(record, "isthing", True, path))
    check_classes(list(categories.values()), path)
    return categories
