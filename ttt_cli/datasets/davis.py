"""DAVIS 2016 and 2017: sequences in images/ or JPEGImages/, labels of the same names in labels/ or Annotations/.

A label is 0 and 255 in gray, or a palette picture of object ids with 255 for void. It covers one or a few objects;
others of the same class have no label. Everything around the labeled objects is therefore a crowd: predictions there
are neither right nor wrong, nor is a predicted object that is much too large. DAVIS does not say what its objects are:
CLASSES_2016 does, and a file classes.csv (sequence,class) in the root adds to it or changes it.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np

from ttt_cli.core.classes import Class
from ttt_cli.core.coco_classes import color_of
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.labels import Instance, Instances, encode
from ttt_cli.datasets.labels import label_truth, read_png
from ttt_cli.datasets.stream import Stream, StreamRequest, folders_in, open_frames

CLASSES_FILE = "classes.csv"
# COCO's class of the object, judged by the sequence's name. Sequences whose one mask covers two classes (a rider and
# a bicycle), or an animal or vehicle that COCO does not have, are not in here.
CLASSES_2016 = {
    "bear": "bear",
    "blackswan": "bird",
    "boat": "boat",
    "breakdance": "person",
    "breakdance-flare": "person",
    "bus": "bus",
    "car-roundabout": "car",
    "car-shadow": "car",
    "car-turn": "car",
    "cows": "cow",
    "dance-jump": "person",
    "dance-twirl": "person",
    "dog": "dog",
    "dog-agility": "dog",
    "drift-chicane": "car",
    "drift-straight": "car",
    "drift-turn": "car",
    "elephant": "elephant",
    "flamingo": "bird",
    "hike": "person",
    "libby": "dog",
    "lucia": "person",
    "mallard-fly": "bird",
    "mallard-water": "bird",
    "parkour": "person",
    "rollerblade": "person",
    "soccerball": "sports ball",
    "train": "train",
}


def davis_streams(request: StreamRequest) -> list[Stream]:
    """The sequences with labels and a class, in order of name; request.truth is the root of the data set.

    A warning names those without a class. Raises TttvError if none is left.
    """
    sequences = folders_in(_first(request.truth, ("labels", "Annotations/480p", "Annotations")))
    if not sequences:
        raise TttvError(f"{printable(request.truth)}: has no folders of labels in it; check --gt")
    frames = _first(request.truth, ("images", "JPEGImages/480p", "JPEGImages"))
    table = request.truth / CLASSES_FILE
    names = CLASSES_2016 | _classes_in(table)
    kept = [folder for folder in sequences if names.get(folder.name)]
    gone = [printable(folder.name) for folder in sequences if not names.get(folder.name)]
    if not kept:
        how = f"write the line 'sequence,class' first, and below it lines such as '{gone[0]},person'"
        raise TttvError(f"{printable(table)}: must give a class for one of: {', '.join(gone)}; {how}")
    warnings = (f"{printable(table)}: has no class for, and so left out: {', '.join(gone)}",) if gone else ()
    streams: list[Stream] = []
    for folder in kept:
        video = open_frames(request, folder.name, frames / folder.name, only_video=len(kept) == 1)
        truth = label_truth(folder, video, partial(_read, size=video.size))
        name = names[folder.name]
        classes = (Class(name, color_of(name, 0), True),)
        streams.append(Stream(folder.name, classes, video, truth, () if streams else warnings, (folder, table)))
    return streams


def _first(root: Path, names: tuple[str, ...]) -> Path:
    """The first of the folders `names` that exists in `root`, or else the first of their paths."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def _classes_in(path: Path) -> dict[str, str]:
    """The class of every sequence that the table in `path` has a line for; nothing if there is no such file."""
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TttvError(f"{printable(path)}: cannot be read ({printable(error)}); save it as UTF-8") from error
    if any("sequence" not in row or "class" not in row for row in rows):
        raise TttvError(f"{printable(path)}: must have 'sequence,class' as its first line")
    return {(row["sequence"] or "").strip(): (row["class"] or "").strip() for row in rows}


def _read(path: Path, size: tuple[int, int]) -> Instances:
    masks = _masks(path, size)
    around = ~np.any([np.zeros(size, bool), *masks], axis=0)
    objects = (Instance(0, encode(mask)) for mask in masks)
    return Instances((*objects, Instance(0, encode(around), is_crowd=True)), size)


def _masks(path: Path, size: tuple[int, int]) -> list[np.ndarray]:
    """The mask of every object, bool (H, W)."""
    image = read_png(path, size)
    ids = np.array(image.convert("L") if image.mode == "1" else image)
    numbers = set(np.unique(ids).tolist()) - {0}
    # 255 is void in a palette picture with object ids, and the object in a gray picture.
    if image.mode == "P" and numbers != {255}:
        return [ids == number for number in sorted(numbers - {255})]
    if image.mode in ("1", "L") and numbers <= {255}:
        return [ids == number for number in numbers]
    raise TttvError(f"{printable(path)}: must hold 0 and 255 in gray, or object ids in a palette picture; save it so")
