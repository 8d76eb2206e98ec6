"""The finished cells of an evaluation, one line of JSON each, so that an interrupted one can go on."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from ttt_cli.errors import TttvError, printable
from ttt_cli.evaluation import Cell, Tally
from ttt_cli.run_folder import to_json

CELLS = "cells.jsonl"


def read_cells(path: Path) -> tuple[str, dict[Cell, Tally]]:
    """The first line and the finished cells. A last line that was cut off while it was written is left out."""
    first, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    finished = {}
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            content = json.loads(line)
            finished[Cell(**content["cell"])] = Tally.from_json(content["tally"])
    return first, finished


class Journal:
    """A file whose first line says what is evaluated, and every other line a cell and its tally."""

    def __init__(self, path: Path, subject: dict[str, Any]) -> None:
        """subject: everything but methods, windows and seeds that the scores depend on; it goes into the first line.

        Raises TttvError where the file is of another evaluation, OSError where it can not be read or written.
        """
        self.path = path
        self.finished: dict[Cell, Tally] = {}
        first = to_json(subject)
        if path.exists():
            found, self.finished = read_cells(path)
            if found not in ("", first):
                shown = printable(path.parent)
                raise TttvError(f"{shown}: holds an evaluation of other settings; add --overwrite or change --out")
        lines = [first, *(_line(cell, tally) for cell, tally in self.finished.items())]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def add(self, cell: Cell, tally: Tally) -> None:
        """Takes in a finished cell."""
        self.finished[cell] = tally
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(cell, tally) + "\n")


def _line(cell: Cell, tally: Tally) -> str:
    return to_json({"cell": dataclasses.asdict(cell), "tally": tally.as_json()})
