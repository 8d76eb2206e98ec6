"""Which runs a command line of many inputs asks for."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.video.images import is_image
from ttt_cli.video.live import live_source

LIST = ".txt"
"""How the name of a list of inputs ends."""


@dataclass(frozen=True)
class Unit:
    """A run to be made."""

    source: str
    """A video file, or a folder or glob of pictures."""
    folder: Path
    """The run folder."""


@dataclass(frozen=True)
class Shard:
    """A share of the units: every `count`-th, from the `index`-th on, counted from 1."""

    index: int
    count: int

    def of(self, units: Sequence[Unit]) -> list[Unit]:
        """The units of this share."""
        return list(units[self.index - 1 :: self.count])


def parse_shard(text: str) -> Shard:
    """A shard from text such as "2/8". Raises UsageError if it is none."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UsageError(f"--shard must be I/N with I from 1 to N, such as 2/8, not {printable(text)!r}")
    return Shard(int(index), int(count))


def are_many(sources: Sequence[str]) -> bool:
    """Whether a command line asks for more than one run, or may."""
    return len(sources) > 1 or sources[0].lower().endswith(LIST)


def units_of(sources: Sequence[str], out: Path, kind: str) -> list[Unit]:
    """The runs of all sources, each once, in order. Sources that are lists stand for the inputs in them.

    out: the folder of the run folders. kind: the end of their names, such as "auto". Inputs of the same name get a
    number of their own, which depends on nothing but their path, so that they get the same folder the next time.
    Raises TttvError for a list that cannot be read or names itself, UsageError for live input, and for pictures, which
    are no videos.
    """
    inputs = list(dict.fromkeys(_expanded(sources, ())))
    if len(inputs) > 1 and all(is_image(path) for path in inputs):
        raise UsageError("these are pictures: to take them as one video, name their folder or quote the pattern")
    names = [_name(path) for path in inputs]
    known = Counter(name.casefold() for name in names)
    out = out.absolute()  # Processes on other machines have other working folders.
    return [
        Unit(str(path), out / f"{name if known[name.casefold()] == 1 else f'{name}-{_number(path)}'}-{kind}")
        for path, name in zip(inputs, names, strict=True)
    ]


def _expanded(sources: Sequence[str], inside: tuple[Path, ...]) -> Iterator[Path]:
    """The inputs as absolute paths without links, those in lists in their places. inside: the lists that we are in."""
    for source in sources:
        if live_source(source) is not None:
            raise UsageError(f"{printable(source)}: live input is a run of its own; name it alone, without --workers")
        path = Path(source).resolve()
        if not source.lower().endswith(LIST):
            yield path
            continue
        if path in inside:
            raise TttvError(f"{printable(path)}: names itself; take it out of the list")
        yield from _expanded(_lines(path), (*inside, path))


def _lines(path: Path) -> list[str]:
    """The inputs in a list, relative to its folder: one a line, without empty lines and those that begin with #."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TttvError(f"{printable(path)}: cannot be read ({error.strerror}); check the list") from error
    except UnicodeDecodeError as error:
        raise TttvError(f"{printable(path)}: is not a text file in UTF-8; write one input a line") from error
    return [str(path.parent / line.strip()) for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _name(path: Path) -> str:
    if any(character in str(path) for character in "*?[") and not path.exists():
        return path.parent.name
    return path.name if path.is_dir() else path.stem


def _number(path: Path) -> str:
    return hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:8]
