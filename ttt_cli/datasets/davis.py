"""DAVIS 2016 and 2017: sequences in images/ or JPEGImages/, labels of the same names in labels/ or Annotations/.

A label is 0 and 255 in gray, or a palette picture of object ids with 255 for void. It covers one or a few objects;
others of the same class have no label. Everything around the labeled objects is therefore a crowd: predictions there
are neither right nor wrong, nor is a predicted object that is much too large. sequences.csv has the class of the
objects in each sequence.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np

from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.labels import Instance, Instances, encode
from ttt_cli.datasets.coco_classes import color_of
from ttt_cli.datasets.labels import label_truth, read_png
from ttt_cli.datasets.stream import Stream, StreamRequest, folders_in, open_frames

CLASS_COLUMN = "fg_class_judged_from_name"


def davis_streams(request: StreamRequest) -> list[Stream]:
    """The sequences that have labels, sorted by name; request.truth is the root of the data set.

    Raises TttvError if there is no sequence, or sequences.csv does not give the class of every sequence.
    """
    sequences = folders_in(_first(request.truth, ("labels", "Annotations/480p", "Annotations")))
    if not sequences:
        raise TttvError(f"{printable(request.truth)}: has no folders of labels in it; check --gt")
    frames = _first(request.truth, ("images", "JPEGImages/480p", "JPEGImages"))
    names = _class_names(request.truth / "sequences.csv", [folder.name for folder in sequences])
    streams = []
    for folder in sequences:
        video = open_frames(request, folder.name, frames / folder.name, only_video=len(sequences) == 1)
        truth = label_truth(folder, video, partial(_read, size=video.size))
        name = names[folder.name]
        streams.append(Stream(folder.name, (Class(name, color_of(name, 0), True),), video, truth))
    return streams


def _first(root: Path, names: tuple[str, ...]) -> Path:
    """The first of the folders `names` that exists in `root`, or else the first of their paths."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def _class_names(path: Path, sequences: list[str]) -> dict[str, str]:
    """The class of every sequence, from the table in `path`."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TttvError(f"{printable(path)}: cannot be read ({printable(error)}); {_needed(sequences[0])}") from error
    names = {row.get("sequence"): row.get(CLASS_COLUMN) for row in rows}
    for sequence in sequences:
        if not names.get(sequence):
            raise TttvError(f"{printable(path)}: gives no class for {printable(sequence)}; {_needed(sequence)}")
    return {sequence: names[sequence] or "" for sequence in sequences}


def _needed(sequence: str) -> str:
    return f"write the line 'sequence,{CLASS_COLUMN}' first, and below it lines such as '{printable(sequence)},person'"


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
