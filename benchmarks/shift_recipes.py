"""Reads recipes of test streams (recipes/streams.toml, shifts.toml) and of changes to tune on (development.toml)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.toml import from_table, read_toml
from ttt_cli.datasets import open_streams
from ttt_cli.datasets.changes import Segment, joined
from ttt_cli.datasets.degrade import degraded, parse_degradation
from ttt_cli.datasets.stream import Stream, StreamRequest
from ttt_cli.video.settings import InputSettings


@dataclass(frozen=True)
class StreamRecipe:
    """An entry of recipes/streams.toml or recipes/shifts.toml."""

    name: str
    """Name of the stream in the table."""
    folder: str
    """Path relative to the data folder."""
    fps: float
    """Frames per second."""
    degrade: str = ""
    """A degradation for `parse_degradation`; empty leaves the frames as they are."""
    segments: tuple[Segment, ...] = ()
    """The parts of the video that are shown one after the other; empty shows the video as it is."""
    family: str = ""
    """What kind of change it is; streams of a family get a mean. Empty for none."""
    seen: bool | None = None
    """Whether the fixed model was trained on that kind of change; None if the recipe does not ask."""

    def __post_init__(self) -> None:
        if self.degrade and self.segments:
            raise UsageError(f"{printable(self.name)}: has segments, and so each of them says what degrades it")


@dataclass(frozen=True)
class Shifts:
    """The content of recipes/development.toml."""

    degrade: tuple[str, ...]
    """Degradations for `parse_degradation`."""


def read_streams(recipe: Path, only: Sequence[str] = ()) -> list[StreamRecipe]:
    """Reads the entries of a file such as recipes/streams.toml.

    only: names of the entries that are wanted; all if empty. Raises UsageError for a name that is not there.
    """
    entries = [from_table(StreamRecipe, table, str(recipe)) for table in read_toml(recipe)["streams"]]
    names = [entry.name for entry in entries]
    for name in only:
        if name not in names:
            raise UsageError(f"{recipe}: has no stream {printable(name)!r}; known: {'; '.join(names)}")
    return [entry for entry in entries if not only or entry.name in only]


def open_stream(recipe: StreamRecipe, data: Path, every: int = 1, max_frames: int | None = None) -> Stream:
    """Opens the labeled video of an entry: its frames 0, every, 2 every ..., at most max_frames of them."""
    settings = InputSettings(fps=recipe.fps)
    if not recipe.segments:
        settings = dataclasses.replace(settings, stride=every, max_frames=max_frames)
    stream = open_streams("camvid", StreamRequest(data / recipe.folder, None, settings, "semantic"))[0]
    if recipe.degrade:
        stream = degraded(stream, parse_degradation(recipe.degrade))
    if recipe.segments:
        stream = joined(stream, recipe.segments, every, max_frames)
    return dataclasses.replace(stream, name=recipe.name)


def read_shifts(recipe: Path) -> tuple[str, ...]:
    """Reads the degradations of a file such as recipes/development.toml."""
    return from_table(Shifts, read_toml(recipe), str(recipe)).degrade


def groups_of(recipes: Sequence[StreamRecipe]) -> dict[str, list[str]]:
    """The names of the streams in each group that gets a mean: the families, what was seen or not, and all."""
    groups: dict[str, list[str]] = {}
    for recipe in recipes:
        if recipe.family:
            groups.setdefault(recipe.family, []).append(recipe.name)
    for title, seen in (("seen", True), ("never seen", False)):
        groups[title] = [recipe.name for recipe in recipes if recipe.seen is seen]
    groups["all"] = [recipe.name for recipe in recipes]
    return {title: names for title, names in groups.items() if names}
