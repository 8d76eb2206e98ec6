"""What the readers of several data sets share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ttt_cli.core.classes import VOID, Class, things_of
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.labels import PanopticMap
from ttt_cli.datasets.coco_json import CocoFile
from ttt_cli.datasets.coco_panoptic import labels_of
from ttt_cli.datasets.regions import components
from ttt_cli.training.stills import LabeledStills, ReadStill, Still
from ttt_cli.video import images

SMALLEST_INSTANCE_PIXELS = 20
"""A smaller connected component is noise at the label's edges, not an object."""


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in the folder, sorted by name. Raises TttvError if there are none."""
    if not folder.is_dir():
        raise TttvError(f"{printable(folder)}: no such folder of training images; see data in the recipe")
    pictures = sorted(path for path in folder.iterdir() if images.is_image(path))
    if not pictures:
        raise TttvError(f"{printable(folder)}: has no pictures in it; docs/data.md says what it should hold")
    return pictures


def present(path: Path) -> Path:
    """The path of a file. Raises TttvError if there is no such file."""
    if not path.is_file():
        raise TttvError(f"{printable(path)}: there is no such file; complete the data set as docs/data.md has it")
    return path


def readers(read: Callable[[Path, Path], Still], pairs: Iterable[tuple[Path, Path]]) -> list[ReadStill]:
    """Readers of pairs of a picture and its label. Raises TttvError if a label is missing."""
    return [partial(read, picture, present(label)) for picture, label in pairs]


def image_of(path: Path) -> Tensor:
    """A decoded picture: RGB, uint8 (3, H, W). Raises TttvError if it cannot be read."""
    return torch.from_numpy(images.read(path)).permute(2, 0, 1).contiguous()


def size_of(image: Tensor) -> tuple[int, int]:
    """(height, width)."""
    return image.shape[-2], image.shape[-1]


def objects_in(classes: Tensor, things: frozenset[int]) -> Tensor:
    """Stands in for labels of objects: the connected components of each thing. As Still.instances."""
    return components(classes, things, SMALLEST_INSTANCE_PIXELS)


def panoptic_stills(pictures: list[Path], coco: CocoFile, pngs: Path) -> LabeledStills:
    """The pictures that have a label in a COCO panoptic file. Raises TttvError if none has or a PNG is missing."""
    labels, classes = labels_of(coco, pngs), tuple(coco.categories.values())
    labeled = [picture for picture in pictures if picture.stem in labels]
    if not labeled:
        raise TttvError(f"{printable(coco.path)}: has no label for {printable(pictures[0])} or another in its folder")

    def read(picture: Path) -> Still:
        image = image_of(picture)
        return still_of_map(picture.stem, image, labels[picture.stem].read(size_of(image)), classes)

    for picture in labeled:
        present(labels[picture.stem].png)
    return LabeledStills(classes, [partial(read, picture) for picture in labeled])


def still_of_map(name: str, image: Tensor, regions: PanopticMap, classes: tuple[Class, ...]) -> Still:
    """A still labeled with a panoptic map. Crowds are void."""
    things = things_of(classes)
    objects = [region.id for region in regions.segments if region.class_id in things and not region.is_crowd]
    ids = torch.tensor(objects, dtype=regions.ids.dtype)
    return Still(name, image, regions.class_map(), regions.ids.where(torch.isin(regions.ids, ids), 0))


def unlabeled(name: str, image: Tensor) -> Still:
    """A still in which everything is void."""
    void = torch.full(image.shape[-2:], VOID, dtype=torch.uint8)
    return Still(name, image, void, torch.zeros(image.shape[-2:], dtype=torch.int32))
