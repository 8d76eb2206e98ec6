"""What COCO's JSON files for instances and for panoptic segmentation have in common.

Every function here raises TttvError, one line that names the file, for what is not as it should be.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.frame import Video
from ttt_cli.datasets.coco_classes import color_of
from ttt_cli.datasets.json_file import Record, check_classes, checked, color, field, flag, read_json, records

# The key that tells a kind of COCO file: each of its annotations has it.
FLAVOURS = {"segments_info": "panoptic", "segmentation": "instances", "caption": "captions"}


@dataclass(frozen=True)
class Picture:
    """An image that a file describes. file_name: as the file says. size: (height, width)."""

    file_name: str
    size: tuple[int, int]

    @property
    def name(self) -> str:
        """What its frame is called."""
        return PureWindowsPath(self.file_name).stem

    def check_size(self, video: Video, path: Path) -> None:
        """The frames are as large as the file says."""
        if self.size != video.size:
            said, real = (f"{width}x{height}" for height, width in (self.size, video.size))
            where = f"{printable(path)}: says that {printable(self.file_name)} is {said}"
            raise TttvError(f"{where}, but {printable(video.path)} is {real}; make them one size")


@dataclass(frozen=True)
class CocoFile:
    """pictures: by image id. annotations: each is of one of them. categories: by id, in the order of the class ids."""

    path: Path
    pictures: dict[int, Picture]
    annotations: list[Record]
    categories: dict[int, Class]

    def class_id(self, record: Record) -> int:
        """The class of what a record is about."""
        number = field(record, "category_id", int, self.path)
        if number not in self.categories:
            raise TttvError(f"{printable(self.path)}: has no category {number}, but says that something is of it")
        return list(self.categories).index(number)


def read_coco(path: Path, wanted: str, categories: dict[int, Class] | None = None) -> CocoFile:
    """Reads a file of the kind that the key `wanted` tells, one of FLAVOURS.

    categories: for files that have none of their own; None where they must.
    """
    content = checked(read_json(path), dict, "a COCO file", path)
    annotations = records(field(content, "annotations", list, path), "annotations", path)
    if not annotations:
        raise TttvError(f"{printable(path)}: has no annotations; check --gt")
    found = [flavour for key, flavour in FLAVOURS.items() if key in annotations[0]]
    if found and wanted not in annotations[0]:
        raise TttvError(f"{printable(path)}: is COCO {found[0]}, where COCO {FLAVOURS[wanted]} is wanted; check --gt")
    pictures = _pictures(records(field(content, "images", list, path), "images", path), path)
    for one in annotations:
        if field(one, "image_id", int, path) not in pictures:
            shown = f"{printable(path)}: has no image {one['image_id']}"
            raise TttvError(f"{shown}, but an annotation of it; correct either")
    if categories is None or "categories" in content:
        categories = _categories(field(content, "categories", list, path), path)
    return CocoFile(path, pictures, annotations, categories)


def _pictures(images: list[Record], path: Path) -> dict[int, Picture]:
    pictures: dict[int, Picture] = {}
    names = set()
    for one in images:
        number = field(one, "id", int, path)
        size = (field(one, "height", int, path), field(one, "width", int, path))
        picture = Picture(field(one, "file_name", str, path), size)
        if number in pictures or picture.name in names:
            shown = f"{number}, {printable(picture.file_name)}"
            raise TttvError(f"{printable(path)}: has two images of one id or one name ({shown}); remove one of them")
        pictures[number] = picture
        names.add(picture.name)
    return pictures


def _categories(content: object, path: Path) -> dict[int, Class]:
    categories: dict[int, Class] = {}
    for index, one in enumerate(records(content, "categories", path)):
        number, name = field(one, "id", int, path), field(one, "name", str, path)
        if number in categories:
            raise TttvError(f"{printable(path)}: has two categories with the id {number}; remove one of them")
        drawn = color(one["color"], path) if "color" in one else color_of(name, index)
        categories[number] = Class(name, drawn, flag(one, "isthing", True, path))
    check_classes(list(categories.values()), path)
    return categories
