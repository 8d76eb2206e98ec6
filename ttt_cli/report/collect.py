"""What the folders of finished runs hold, read once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.evaluate.comparison import Summary
from ttt_cli.evaluate.evaluation import Cell, PassTally
from ttt_cli.evaluate.figures import or_nan
from ttt_cli.evaluate.journal import CELLS, read_cells
from ttt_cli.run.folder import RunFolder


@dataclass(frozen=True)
class Evaluation:
    """A folder of `tttv eval`. subject: data, weights and settings. score, unit: what is scored, such as mIoU, and in
    what."""

    path: Path
    subject: dict[str, Any]
    score: str
    unit: str
    summary: list[Summary]
    tallies: dict[Cell, PassTally]

    @property
    def quantity(self) -> str:
        """What is scored, with its unit."""
        return f"{self.score} in {self.unit}"

    @property
    def has_classes(self) -> bool:
        """Whether there is a score for each class."""
        return any(row.by_class for row in self.summary)


@dataclass(frozen=True)
class SegmentRun:
    """A folder of `tttv segment`. report: run.json. frames: the lines of frames.jsonl."""

    folder: RunFolder
    report: dict[str, Any]
    frames: list[dict[str, Any]]


def read(path: Path) -> Evaluation | SegmentRun:
    """Tells by the files what the folder is. Raises TttvError where it is neither, or not finished."""
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
    tallies = {cell: finished.tally for cell, finished in read_cells(path / CELLS)[1].items()}
    del content["records"]
    return Evaluation(path, content, content.pop("score"), content.pop("unit"), summary, tallies)


def _summary(row: dict[str, Any]) -> Summary:
    """A row of metrics.json, which has null where there was NaN."""
    numbers = {name: or_nan(row[name]) for name in ("pooled", "deviation", "paper", "paper_deviation")}
    tables = {
        name: {key: or_nan(value) for key, value in row[name].items()}
        for name in ("details", "details_deviation", "by_class")
    }
    return Summary(**{**row, **numbers, **tables})
