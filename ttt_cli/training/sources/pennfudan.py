"""Penn-Fudan: pedestrians in labels/ are true instances, drawn by people.

The pictures in MACHINE_LABELS, if there are any, label the other street classes; otherwise those are void.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ttt_cli.core.classes import CAMVID, VOID
from ttt_cli.core.errors import printable
from ttt_cli.datasets.labels import read_png
from ttt_cli.training.sources.camvid import THINGS, camvid_classes
from ttt_cli.training.sources.files import image_of, objects_in, pictures_in, present, size_of
from ttt_cli.training.stills import LabeledStills, Still

logger = logging.getLogger(__name__)

MACHINE_LABELS = "street_labels_machine"
"""A folder beside Penn-Fudan's own labels: CamVid's ids in each pixel, written by a network (docs/data.md)."""
PEDESTRIAN = next(index for index, entry in enumerate(CAMVID) if entry.name == "pedestrian")


def pennfudan(folder: Path, split: str) -> LabeledStills:
    """Every picture."""
    machine = folder / MACHINE_LABELS
    if not machine.is_dir():
        logger.warning("%s: there is no such folder, so only pedestrians are labeled", printable(machine))
    stills = []
    for picture in pictures_in(folder / "images"):
        name = f"{picture.stem}.png"
        around = present(machine / name) if machine.is_dir() else None
        stills.append(partial(_read, picture, present(folder / "labels" / name), around))
    return LabeledStills(CAMVID, list(stills))


def _read(picture: Path, label: Path, around: Path | None) -> Still:
    image = image_of(picture)
    people = torch.from_numpy(np.array(read_png(label, size_of(image)), dtype=np.int32))
    if around is None:
        classes = torch.full(people.shape, VOID, dtype=torch.uint8)
        classes[people > 0] = PEDESTRIAN
    else:
        classes = camvid_classes(around, size_of(image))
    unpeopled = torch.where(classes == PEDESTRIAN, torch.tensor(VOID, dtype=torch.uint8), classes)
    rest = objects_in(unpeopled, THINGS)
    return Still(picture.stem, image, classes, torch.where(people > 0, people + int(rest.max()), rest))
