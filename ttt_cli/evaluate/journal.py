"""The finished cells of an evaluation, one line of JSON each, so that it can continue after an interruption."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.evaluate.evaluation import Cell, PassTally
from ttt_cli.run.folder import OWNER, to_json

CELLS = "cells.jsonl"
EVALUATION = "evaluation"
KEYS_OF_0_1 = frozenset(
    {
        *("dataset", "weights", "input", "task", "adaptation", "reconstruction", "device", "consistency"),
    }
)
"""What the first line of every journal of tttv 0.1 has, which does not say whose it is."""


@dataclass(frozen=True)
class Finished:
    """A finished cell's tally and weights."""

    tally: PassTally
    weights: str
    """sha256 of the weights file."""
    detectron: dict[str, float] | None = None
    """Scores by detectron2, if they were wanted."""


@dataclass(frozen=True)
class Content:
    """What a journal holds."""

    subject: dict[str, Any]
    finished: dict[Cell, Finished]
    videos: set[str]
    """Names of overlay videos beside the journal, written or yet to be written. Videos of other names are not ours."""


def read_journal(path: Path) -> Content:
    """The content of a journal. Damaged lines are skipped, such as a last one that was cut off.

    Raises OSError if the file cannot be read, TttvError if it is not a journal of tttv.
    """
    first, *lines = path.read_bytes().split(b"\n")
    subject = _subject(first)
    if subject is None:
        raise TttvError(f"{printable(path)}: was not written by tttv eval; name another folder")
    content = Content(subject, {}, set())
    for line in lines:
        with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            values = json.loads(line)
            # A name with a folder in it would lead out of this one.
            content.videos.update(name for name in values.get("videos", ()) if Path(name).name == name)
            tally = PassTally.from_json(values["tally"])
            content.finished[Cell(**values["cell"])] = Finished(tally, values["weights"], values.get("detectron"))
    return content


def _subject(line: bytes) -> dict[str, Any] | None:
    """The subject in the first line of a journal; None if it is not of ours."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not (content.get(OWNER) == EVALUATION or content.keys() >= KEYS_OF_0_1):
        return None
    return content


class Journal:
    """A file with the evaluation's subject in the first line and a cell with its tally in every other line.

    Lines that name the overlay videos come before those of their cells.
    """

    def __init__(self, path: Path, subject: dict[str, Any]) -> None:
        """subject: everything that the scores depend on except methods, windows and seeds; it becomes the first line.

        Raises TttvError if the file is of another evaluation, OSError if it cannot be read or written.
        """
        self.path = path
        self._first = to_json(subject)
        self.finished: dict[Cell, Finished] = {}
        self.videos: set[str] = set()
        if path.exists():
            earlier = read_journal(path)
            _check_same(earlier.subject, json.loads(self._first), path)
            self.finished, self.videos = earlier.finished, earlier.videos
        self._write()

    def has(self, cell: Cell, weights: str) -> bool:
        """Whether the cell is finished with these weights, given by sha256."""
        return cell in self.finished and self.finished[cell].weights == weights

    def announce(self, videos: set[str]) -> None:
        """Adds the names of overlay videos that are going to be written."""
        if not videos <= self.videos:
            self.videos |= videos
            self._append(_videos_line(videos))

    def add(self, cell: Cell, finished: Finished) -> None:
        """Adds a finished cell to the file."""
        self.finished[cell] = finished
        self._append(_line(cell, finished))

    def arrange(self, cells: Sequence[Cell]) -> None:
        """Puts these cells, which are all finished, first and in order, whatever the order in which they came."""
        arranged = {cell: self.finished[cell] for cell in (*cells, *self.finished)}
        if list(arranged) != list(self.finished):
            self.finished = arranged
            self._write()

    def _append(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _write(self) -> None:
        lines = [self._first, *([_videos_line(self.videos)] if self.videos else [])]
        lines += [_line(cell, finished) for cell, finished in self.finished.items()]
        temporary = self.path.with_name(self.path.name + ".part")
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        temporary.replace(self.path)


def _line(cell: Cell, finished: Finished) -> str:
    values = {"weights": finished.weights, "detectron": finished.detectron, "tally": finished.tally.as_json()}
    return to_json({"cell": dataclasses.asdict(cell), **values})


def _videos_line(videos: set[str]) -> str:
    return to_json({"videos": sorted(videos)})


def _check_same(earlier: dict[str, Any], subject: dict[str, Any], path: Path) -> None:
    """Raises TttvError if the earlier subject is another one."""
    changed = sorted(key for key in earlier.keys() | subject.keys() if earlier.get(key) != subject.get(key))
    if not changed:
        return
    folder, remedy = printable(path.parent), "add --overwrite or change --out"
    if changed == ["data_sha256"]:
        raise TttvError(f"{folder}: labels or frames have changed since this evaluation began; {remedy}")
    if OWNER not in earlier:
        raise TttvError(f"{folder}: holds an evaluation of tttv 0.1, which does not say what its data were; {remedy}")
    raise TttvError(f"{folder}: holds an evaluation of other settings ({printable(', '.join(changed))}); {remedy}")
