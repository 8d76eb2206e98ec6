"""Labeled still images, read from disk when they are asked for, and pools of them to draw from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from ttt_cli.core.classes import VOID, Class
from ttt_cli.core.exposure import picture_statistics
from ttt_cli.core.pictures import PictureStatistics

KEPT_BYTES = 2 * 2**30
"""How much memory decoded stills may take. A small data set is read once, of a large one what fits."""
LARGEST_SAMPLE = 1000
"""At most so many stills, evenly spread, are read for statistics of all."""


@dataclass(frozen=True)
class Still:
    """A labeled image."""

    name: str
    """File name without its suffix."""
    image: Tensor
    """RGB, uint8 (3, H, W); float32 after augmentation."""
    classes: Tensor
    """Class of each pixel: uint8 (H, W), 255 = void."""
    instances: Tensor
    """Object of each pixel: int32 (H, W), 0 = no object."""


ReadStill = Callable[[], Still]
"""Reads and decodes one still. Raises TttvError if that is not possible."""


@dataclass(frozen=True)
class LabeledStills:
    """The stills of a data set."""

    classes: tuple[Class, ...]
    """The classes of their labels; none if they have no labels."""
    readers: list[ReadStill]
    """One for each still, sorted by name."""


class Memory:
    """Keeps decoded stills, the first ones that are read, until its room is used up."""

    def __init__(self, room_bytes: int = KEPT_BYTES) -> None:
        self.room_bytes = room_bytes
        self.kept: dict[ReadStill, Still] = {}

    def read(self, reader: ReadStill) -> Still:
        """The still, from memory or from disk."""
        if reader in self.kept:
            return self.kept[reader]
        still = reader()
        size = sum(tensor.nbytes for tensor in (still.image, still.classes, still.instances))
        if size <= self.room_bytes:
            self.room_bytes -= size
            self.kept[reader] = still
        return still


@dataclass(frozen=True)
class Stills:
    """Stills, each read when it is asked for."""

    memory: Memory
    """Where it is kept if there is room."""
    readers: list[ReadStill] = field(default_factory=list)
    """One for each still."""

    def __len__(self) -> int:
        return len(self.readers)

    def __getitem__(self, index: int) -> Still:
        return self.memory.read(self.readers[index])

    def __iter__(self) -> Iterator[Still]:
        return map(self.memory.read, self.readers)


@dataclass(frozen=True)
class Pool:
    """Stills to draw from."""

    stills: Stills
    """All stills of all sources."""
    weights: list[float] = field(default_factory=list)
    """How likely each still is to be drawn, relative to the others."""

    def add(self, readers: Sequence[ReadStill], share: float) -> None:
        """Adds stills whose weights sum to `share`."""
        self.stills.readers.extend(readers)
        self.weights.extend([share / len(readers)] * len(readers))

    def choose(self, count: int, generator: Generator) -> list[int]:
        """Draws the indices of `count` stills with replacement."""
        chosen: list[int] = torch.tensor(self.weights).multinomial(count, True, generator=generator).tolist()
        return chosen

    def sample(self) -> Iterator[Still]:
        """All stills, or an evenly spread part of them if there are very many."""
        step = -(-len(self.stills) // LARGEST_SAMPLE)
        return (self.stills[index] for index in range(0, len(self.stills), step))

    def statistics(self) -> PictureStatistics:
        """Mean and deviation of the pictures, each still of the sample counting alike."""
        return picture_statistics(still.image for still in self.sample())

    def pixel_share(self, classes: int) -> Tensor:
        """The share of each class among the labeled pixels of the sample: float32 (K,)."""
        counts = torch.zeros(VOID + 1, dtype=torch.float64)
        for still in self.sample():
            counts += torch.bincount(still.classes.flatten().long(), minlength=VOID + 1)
        known = counts[:classes]
        return (known / known.sum()).float()


@dataclass(frozen=True)
class Split:
    """The stills of all sources, split for training and validation."""

    classes: tuple[Class, ...]
    """The classes of the labels; none if no source has labels."""
    trained: Pool
    """Stills to train on."""
    held_out: dict[str, Stills]
    """Stills for validation, by source."""

    @property
    def all_held_out(self) -> Stills:
        """The held-out stills of all sources."""
        readers = [reader for stills in self.held_out.values() for reader in stills.readers]
        return Stills(self.trained.stills.memory, readers)
