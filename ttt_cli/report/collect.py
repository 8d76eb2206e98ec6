"""Reads the folders of finished runs and evaluations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.evaluate.comparison import BASELINE, Summary
from ttt_cli.evaluate.evaluation import Cell, PassTally
from ttt_cli.evaluate.figures import or_nan
from ttt_cli.evaluate.journal import CELLS, read_journal
from ttt_cli.run.folder import RunFolder
from ttt_cli.run.lock import is_locked

Values = Sequence[float | None]
"""A number for each frame of a run; None if there is none."""


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
    metrics: dict[str, Any] | None
    """Content of metrics.json, if the run was scored and has ended."""

    @property
    def method(self) -> str:
        """The name of the method."""
        return str(self.report["settings"]["adaptation"]["method"])

    @property
    def is_going_on(self) -> bool:
        """Whether a process is writing in the folder."""
        return self.report["status"] == "running" and is_locked(self.folder.path)

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """What metrics.json has of the "fixed" and of the "adapted" model, if it has anything."""
        tables = {} if self.metrics is None else self.metrics["methods"]
        found = {"fixed": tables.get(BASELINE) if self.method != BASELINE else None, "adapted": tables.get(self.method)}
        return {name: table for name, table in found.items() if table is not None}

    @property
    def unit(self) -> str:
        """The unit of the scores, as a sign."""
        unit = "" if self.metrics is None else str(self.metrics["unit"])
        return "%" if unit == "percent" else unit

    def frame_scores(self) -> dict[str, Values]:
        """The score of each frame, for "fixed" and "adapted"; None for frames without a label."""
        found: dict[str, Values] = {}
        for name, table in self.scores.items():
            if self.metrics is not None and "frame_scores" in table:  # Not in files of older versions.
                by_index = dict(zip(self.metrics["scored_frames"], table["frame_scores"], strict=True))
                found[name] = [by_index.get(frame["index"]) for frame in self.frames]
        return found


def read(path: Path) -> Evaluation | SegmentRun:
    """Reads a folder of either kind, told apart by its files. A run may still be going on.

    Raises TttvError if it is neither, or an evaluation that is not finished.
    """
    shown = printable(path)
    folder = RunFolder(path)
    try:
        if (path / CELLS).is_file():
            if not folder.metrics.is_file():
                raise TttvError(f"{shown}: this evaluation is not finished; run the same tttv eval command again")
            return _evaluation(path, json.loads(folder.metrics.read_text(encoding="utf-8")))
        if folder.run.is_file():
            return _run(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TttvError(f"{shown}: cannot be understood ({error}); it may be of another version") from error
    raise TttvError(f"{shown}: is no folder that tttv segment or tttv eval wrote (no run.json, no {CELLS})")


def _run(folder: RunFolder) -> SegmentRun:
    report = json.loads(folder.run.read_text(encoding="utf-8"))
    lines = folder.frames.read_text(encoding="utf-8").split("\n")[:-1]  # What follows is being written.
    scored = folder.metrics.is_file() and report["status"] != "running"  # Else it is an earlier run's.
    metrics = json.loads(folder.metrics.read_text(encoding="utf-8")) if scored else None
    return SegmentRun(folder, report, [json.loads(line) for line in lines], metrics)


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
