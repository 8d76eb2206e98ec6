"""The finished cells of an evaluation, one line of JSON each, so that an interrupted one can go on."""

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
    """A cell's tally, and the sha256 of the weights that it was measured with."""

    tally: PassTally
    weights: str


def read_cells(path: Path) -> tuple[str, dict[Cell, Finished]]:
    """The first line and the finished cells. A last line that was cut off while it was written is left out."""
    first, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    finished = {}
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            content = json.loads(line)
            finished[Cell(**content["cell"])] = Finished(PassTally.from_json(content["tally"]), content["weights"])
    return first, finished


class Journal:
    """A file whose first line says what is evaluated, and every other line a cell and its tally."""

    def __init__(self, path: Path, subject: dict[str, Any]) -> None:
        """subject: everything but methods, windows and seeds that the scores depend on; it goes into the first line.

        Raises TttvError where the file is of another evaluation, OSError where it cannot be read or written.
        """
        self.path = path
        self.finished: dict[Cell, Finished] = {}
        first = to_json(subject)
        if path.exists():
            found, self.finished = read_cells(path)
            if found not in ("", first):
                shown = printable(path.parent)
                raise TttvError(f"{shown}: holds an evaluation of other settings; add --overwrite or change --out")
        lines = [first, *(_line(cell, one) for cell, one in self.finished.items())]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def has(self, cell: Cell, weights: str) -> bool:
        """Whether the cell is finished, with these weights (by their sha256)."""
        return cell in self.finished and self.finished[cell].weights == weights

    def add(self, cell: Cell, finished: Finished) -> None:
        """Takes in a finished cell."""
        self.finished[cell] = finished
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(cell, finished) + "\n")


def _line(cell: Cell, finished: Finished) -> str:
    content = {"cell": dataclasses.asdict(cell), "weights": finished.weights, "tally": finished.tally.as_json()}
    return to_json(content)
