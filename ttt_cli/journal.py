"""The finished cells of an evaluation, one line of JSON each, so that an interrupted one can go on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ttt_cli.errors import TttvError, printable
from ttt_cli.evaluation import Cell, Tally
from ttt_cli.run_folder import to_json


class Journal:
    """A file whose first line says what is evaluated, and every other line a cell and its tally."""

    def __init__(self, path: Path, subject: dict[str, Any]) -> None:
        """subject: everything but methods, windows and seeds that the scores depend on; it goes into the first line.

        Raises TttvError where the file is of another evaluation, OSError where it can not be read or written.
        """
        self.path = path
        self.finished: dict[Cell, Tally] = {}
        first = to_json(subject)
        kept = [first]
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            if lines and lines[0] != first:
                shown = printable(path.parent)
                raise TttvError(f"{shown}: holds an evaluation of other settings; add --overwrite or change --out")
            for line in lines[1:]:
                try:
                    content = json.loads(line)
                    self.finished[Cell(**content["cell"])] = Tally.from_json(content["tally"])
                except (ValueError, KeyError, TypeError):
                    continue  # The program was killed while it wrote this line.
                kept.append(line)
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def add(self, cell: Cell, tally: Tally) -> None:
        """Takes in a finished cell."""
        self.finished[cell] = tally
        with self.path.open("a", encoding="utf-8") as file:
            file.write(to_json({"cell": dataclasses.asdict(cell), "tally": tally.as_json()}) + "\n")
