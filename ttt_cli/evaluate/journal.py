"""The finished cells of an evaluation, one line of JSON each, so that it can continue after an interruption."""

from __future__ import annotations

import dataclasses
import json
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
    video: str | None = None
    """Name of the overlay video that was written beside the journal, if one was."""


def read_cells(path: Path) -> tuple[dict[str, Any], dict[Cell, Finished]]:
    """The subject and the finished cells. Damaged lines are skipped, such as a last one that was cut off.

    Raises OSError if the file cannot be read, TttvError if it is not a journal of tttv.
    """
    first, *lines = path.read_bytes().split(b"\n")
    subject = _subject(first)
    if subject is None:
        raise TttvError(f"{printable(path)}: was not written by tttv eval; name another folder")
    finished = {}
    for line in lines:
        with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            content = json.loads(line)
            tally = PassTally.from_json(content["tally"])
            video = content.get("video")
            if video is not None and Path(video).name != video:
                continue  # It would lead out of the folder.
            finished[Cell(**content["cell"])] = Finished(tally, content["weights"], video)
    return subject, finished


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
    """A file with the evaluation's subject in the first line and a cell with its tally in every other line."""

    def __init__(self, path: Path, subject: dict[str, Any]) -> None:
        """subject: everything that the scores depend on except methods, windows and seeds; it becomes the first line.

        Raises TttvError if the file is of another evaluation, OSError if it cannot be read or written.
        """
        self.path = path
        self.finished: dict[Cell, Finished] = {}
        first = to_json(subject)
        if path.exists():
            earlier, self.finished = read_cells(path)
            _check_same(earlier, json.loads(first), path)
        lines = [first, *(_line(cell, finished) for cell, finished in self.finished.items())]
        temporary = path.with_name(path.name + ".part")
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        temporary.replace(path)

    def has(self, cell: Cell, weights: str) -> bool:
        """Whether the cell is finished with these weights, given by sha256."""
        return cell in self.finished and self.finished[cell].weights == weights

    def add(self, cell: Cell, finished: Finished) -> None:
        """Adds a finished cell to the file."""
        self.finished[cell] = finished
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(cell, finished) + "\n")


def _line(cell: Cell, finished: Finished) -> str:
    values = {"weights": finished.weights, "video": finished.video, "tally": finished.tally.as_json()}
    return to_json({"cell": dataclasses.asdict(cell), **values})


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
