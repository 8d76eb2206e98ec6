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
from ttt_cli.run.folder import to_json

CELLS = "cells.jsonl"


@dataclass(frozen=True)
class Finished:
    """A finished cell's tally and weights."""

    tally: PassTally
    weights: str
    """sha256 of the weights file."""


def read_cells(path: Path) -> tuple[str, dict[Cell, Finished]]:
    """The first line and the finished cells. Skips a last line that was cut off while it was written."""
    first, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    finished = {}
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            content = json.loads(line)
            finished[Cell(**content["cell"])] = Finished(PassTally.from_json(content["tally"]), content["weights"])
    return first, finished


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
            old_first, self.finished = read_cells(path)
            if old_first not in ("", first):
                folder = printable(path.parent)
                raise TttvError(f"{folder}: holds an evaluation of other settings; add --overwrite or change --out")
        lines = [first, *(_line(cell, finished) for cell, finished in self.finished.items())]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def has(self, cell: Cell, weights: str) -> bool:
        """Whether the cell is finished with these weights, given by sha256."""
        return cell in self.finished and self.finished[cell].weights == weights

    def add(self, cell: Cell, finished: Finished) -> None:
        """Adds a finished cell to the file."""
        self.finished[cell] = finished
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(cell, finished) + "\n")


def _line(cell: Cell, finished: Finished) -> str:
    content = {"cell": dataclasses.asdict(cell), "weights": finished.weights, "tally": finished.tally.as_json()}
    return to_json(content)
