"""Data sets of labeled stills, one module each, and the table of them.

To add a data set, write a module here and add a line to SOURCES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttt_cli.core.choices import choices
from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.ranges import require_not_negative
from ttt_cli.training.sources.ade20k import ade20k
from ttt_cli.training.sources.camvid import camvid
from ttt_cli.training.sources.cityscapes import cityscapes
from ttt_cli.training.sources.coco import coco, coco_panoptic
from ttt_cli.training.sources.folder import folder
from ttt_cli.training.sources.pennfudan import pennfudan
from ttt_cli.training.sources.pictures import pictures
from ttt_cli.training.stills import LabeledStills, Memory, Pool, Split, Stills


@dataclass(frozen=True)
class Source:
    """A line of the table of data sets."""

    stills: Callable[[Path, str], LabeledStills]
    """Lists the stills of a folder and a split. Raises TttvError if the folder is not in the data set's layout."""
    splits: tuple[str, ...] = ("train",)
    """The parts that the data set has in one folder; "train" alone is all of it."""


SOURCES = {
    "camvid": Source(camvid),
    "pennfudan": Source(pennfudan),
    "cityscapes": Source(cityscapes, ("train", "val")),
    "coco": Source(coco, ("train", "val")),
    "coco-panoptic": Source(coco_panoptic, ("train", "val")),
    "ade20k": Source(ade20k, ("train", "val")),
    "folder": Source(folder),
    "pictures": Source(pictures),
}


@dataclass(frozen=True)
class StillsSource:
    """A folder of stills."""

    kind: str
    """How to read the folder: a name in SOURCES."""
    folder: str
    """Path relative to the data folder given on the command line."""
    share: float = 1.0
    """How often a training image is drawn from this folder, relative to the other sources; 0 trains on none of it."""
    held_out: int = 0
    """How many of the last stills by name, which in a drive are the latest, are kept for validation."""
    gap: int = 0
    """How many stills before the held-out ones are not used at all, so that neighbors do not leak."""
    split: str = "train"
    """The part of the data set: train, or val where there is one."""

    def __post_init__(self) -> None:
        require_not_negative(self, "share", "held_out", "gap")
        if "\0" in self.folder:
            raise UsageError(f"folder {printable(self.folder)!r}: no path has a null character")


def load_split(sources: Sequence[StillsSource], data: Path) -> Split:
    """The sources of a recipe in the folder `data`. Stills are decoded when they are asked for.

    Raises UsageError for an unknown kind or split, and TttvError if a folder is not in its data set's layout, has too
    few stills, or sources differ in their classes.
    """
    memory = Memory()
    listed = [_listed(source, data) for source in sources]
    split = Split(_agreed_classes(sources, listed), Pool(Stills(memory)), {})
    for source, stills in zip(sources, listed, strict=True):
        rest = len(stills.readers) - source.held_out
        trained = stills.readers[: max(0, rest - source.gap)]
        if rest < 0 or (source.share > 0 and not trained):
            kept = f"held_out = {source.held_out} and gap = {source.gap}"
            raise TttvError(f"{printable(data / source.folder)}: {kept} leave none of {len(stills.readers)} stills")
        if source.held_out:
            name = source.folder if source.split == "train" else f"{source.folder} {source.split}"
            split.held_out[name] = Stills(memory, stills.readers[rest:])
        if source.share > 0:
            split.trained.add(trained, source.share)
    if not split.trained.weights:
        raise UsageError("sources: there is nothing to train on; give one of them a share above 0")
    return split


def _listed(source: StillsSource, data: Path) -> LabeledStills:
    if source.kind not in SOURCES:
        raise UsageError(f"sources: kind {printable(source.kind)!r} is unknown; {choices(source.kind, SOURCES)}")
    known = SOURCES[source.kind].splits
    if source.split not in known:
        raise UsageError(f"sources: {source.kind} has no split {printable(source.split)!r}; it has: {', '.join(known)}")
    return SOURCES[source.kind].stills(data / source.folder, source.split)


def _agreed_classes(sources: Sequence[StillsSource], listed: Sequence[LabeledStills]) -> tuple[Class, ...]:
    """The classes of the sources that have labels; their colors may differ, and the first one's count."""
    labeled = [
        (source.folder, stills.classes) for source, stills in zip(sources, listed, strict=True) if stills.classes
    ]
    for folder_, classes in labeled[1:]:
        if [(class_.name, class_.is_thing) for class_ in classes] != [
            (class_.name, class_.is_thing) for class_ in labeled[0][1]
        ]:
            names = f"{printable(folder_)} and {printable(labeled[0][0])}"
            raise TttvError(f"{names}: are labeled with different classes; train on one of them, or relabel the other")
    return labeled[0][1] if labeled else ()
