"""Reads the folders of finished runs and evaluations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.evaluate.comparison import Summary
from ttt_cli.evaluate.evaluation import Cell, PassTally
from ttt_cli.evaluate.figures import or_nan
from ttt_cli.evaluate.journal import CELLS, read_journal
from ttt_cli.run.folder import RunFolder


@dataclass(frozen=True)
class Evaluation:
    """A folder that `tttv eval` wrote."""

    path: Path
    """The folder."""
    subject: dict[str, Any]
    """Data, weights and settings."""
    score: str
    """The score's name, such as mIoU."""
    unit: str
    """The score's unit."""
    summary: list[Summary]
    """Rows of metrics.json: one for each method, window and stream."""
    tallies: dict[Cell, PassTally]
    """Values of every frame, by pass."""

    @property
    def quantity(self) -> str:
        """The score's name and unit."""
        return f"{self.score} in {self.unit}"

    @property
    def has_classes(self) -> bool:
        """Whether there is a score for each class."""
        return any(row.by_class for row in self.summary)


@dataclass(frozen=True)
class SegmentRun:
    """A folder that `tttv segment` wrote."""

    folder: RunFolder
    """The folder."""
    report: dict[str, Any]
    """Content of run.json."""
    frames: list[dict[str, Any]]
    """Lines of frames.jsonl."""


def read(path: Path) -> Evaluation | SegmentRun:
    """Reads a folder of either kind, told apart by its files. Raises TttvError if it is neither or not finished."""
    shown = printable(path)
    folder = RunFolder(path)
    try:
        if (path / CELLS).is_file():
            if not folder.metrics.is_file():
                raise TttvError(f"{shown}: this evaluation is not finished; run the same tttv eval command again")
            return _evaluation(path, json.loads(folder.metrics.read_text(encoding="utf-8")))
        if folder.run.is_file():
            lines = folder.frames.read_text(encoding="utf-8").splitlines()
            report = json.loads(folder.run.read_text(encoding="utf-8"))
            return SegmentRun(folder, report, [json.loads(line) for line in lines])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TttvError(f"{shown}: cannot be understood ({error}); it may be of another version") from error
    raise TttvError(f"{shown}: is no folder that tttv segment or tttv eval wrote (no run.json, no {CELLS})")


def _evaluation(path: Path, content: dict[str, Any]) -> Evaluation:
    summary = [_summary(row) for row in content.pop("summary")]
    tallies = {cell: finished.tally for cell, finished in read_journal(path / CELLS).finished.items()}
    del content["records"]
    return Evaluation(path, content, content.pop("score"), content.pop("unit"), summary, tallies)


def _summary(row: dict[str, Any]) -> Summary:
    """A row of metrics.json, with NaN for null."""
    numbers = {name: or_nan(row[name]) for name in ("pooled", "deviation", "paper", "paper_deviation")}
    tables = {
        name: {key: or_nan(value) for key, value in row[name].items()}
        for name in ("details", "details_deviation", "by_class")
    }
    return Summary(**{**row, **numbers, **tables})
