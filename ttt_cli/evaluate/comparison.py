"""Scores, averages over seeds and gains over the fixed model, from an evaluation's tallies; and their files."""

from __future__ import annotations

import copy
import csv
import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_cli.core.errors import printable
from ttt_cli.evaluate.evaluation import Cell, PassTally
from ttt_cli.evaluate.figures import format_number
from ttt_cli.metrics.base import mean_of_known

BASELINE = "joint"
ALL_STREAMS = "all"


@dataclass(frozen=True)
class Record:
    """A method with one window and one seed on one stream, or on all streams together."""

    stream: str
    """Name of the stream, or ALL_STREAMS."""
    method: str
    window: int | None
    """As in Cell."""
    seed: int | None
    """As in Cell."""
    frames: int
    frames_scored: int
    """Frames that have a label, or colors, to score against."""
    pooled: float
    """In the metric's unit, as are the next three; see metrics.base.Scores."""
    paper: float
    by_class: dict[str, float]
    details: dict[str, float]
    adapt_seconds: float
    """Mean for each frame, with training before the first frame."""
    predict_seconds: float
    """Mean for each frame."""
    skipped_steps: int
    peak_mebibytes: float | None
    """Device memory on CUDA, else memory of the process; None if unknown."""
    consistency: float | None
    """Percent, see metrics/consistency.py, averaged over frames; None if not measured."""

    @property
    def seconds(self) -> float:
        """Mean model time for each frame."""
        return self.adapt_seconds + self.predict_seconds


@dataclass(frozen=True)
class Summary:
    """A method with one window on a stream, averaged over seeds. Fields without a comment are as in Record."""

    stream: str
    method: str
    window: int | None
    seeds: int
    """Number of seeds."""
    pooled: float
    deviation: float
    """Standard deviation of `pooled` over the seeds, 0 for one seed."""
    gain: float | None
    """Points of `pooled` above `joint`; None if `joint` was not run."""
    paper: float
    paper_deviation: float
    """Standard deviation of `paper` over the seeds, 0 for one seed."""
    paper_gain: float | None
    """Points of `paper` above `joint`; None if `joint` was not run."""
    details: dict[str, float]
    details_deviation: dict[str, float]
    """Standard deviations of `details` over the seeds, 0 for one seed."""
    by_class: dict[str, float]
    seconds: float
    """Mean model time for each frame."""
    time_ratio: float | None
    """Model time divided by that of `joint`; None if `joint` was not run."""
    peak_mebibytes: float | None
    """The largest of all seeds."""
    consistency: float | None

    def spread(self, deviation: float) -> float | None:
        """The deviation, or None if there is only one seed."""
        return deviation if self.seeds > 1 else None

    def shown_details(self) -> dict[str, str]:
        """The details with their deviations, formatted for tables."""
        return {
            name: format_number(value, self.spread(self.details_deviation[name]))
            for name, value in self.details.items()
        }

    @property
    def title(self) -> str:
        """The method, and its window if it has a choice of windows."""
        return self.method if self.window is None else f"{self.method}, window {self.window or 'inf'}"


def records_of(tallies: Mapping[Cell, PassTally]) -> list[Record]:
    """A record for each cell. With several streams, one over all of them follows for each method, window and seed."""
    passes: dict[tuple[str, int | None, int | None], list[Cell]] = {}
    for cell in tallies:
        passes.setdefault((cell.method, cell.window, cell.seed), []).append(cell)
    records = []
    for cells in passes.values():
        records += [_record(cell, tallies[cell]) for cell in cells]
        if len(cells) > 1:
            total = copy.deepcopy(tallies[cells[0]])
            for cell in cells[1:]:
                total += tallies[cell]
            records.append(_record(dataclasses.replace(cells[0], stream=ALL_STREAMS), total))
    return records


def summarize(records: Sequence[Record]) -> list[Summary]:
    """One row for each stream, method and window, in order of appearance."""
    groups: dict[tuple[str, str, int | None], list[Record]] = {}
    for record in records:
        groups.setdefault((record.stream, record.method, record.window), []).append(record)
    rows = []
    for (stream, method, window), group in groups.items():
        baseline = groups.get((stream, BASELINE, None), [None])[0]
        pooled = [record.pooled for record in group]
        paper = [record.paper for record in group]
        consistency = [record.consistency for record in group if record.consistency is not None]
        seconds = statistics.fmean(record.seconds for record in group)
        peaks = [record.peak_mebibytes for record in group if record.peak_mebibytes]
        rows.append(
            Summary(
                stream=stream,
                method=method,
                window=window,
                seeds=len(group),
                pooled=statistics.fmean(pooled),
                deviation=deviation_of(pooled),
                gain=None if baseline is None else statistics.fmean(pooled) - baseline.pooled,
                paper=statistics.fmean(paper),
                paper_deviation=deviation_of(paper),
                paper_gain=None if baseline is None else statistics.fmean(paper) - baseline.paper,
                details=_by_name(statistics.fmean, [record.details for record in group]),
                details_deviation=_by_name(deviation_of, [record.details for record in group]),
                by_class=_by_name(statistics.fmean, [record.by_class for record in group]),
                seconds=seconds,
                time_ratio=None if baseline is None else seconds / baseline.seconds,
                peak_mebibytes=max(peaks, default=None),
                consistency=mean_of_known(consistency) if consistency else None,
            )
        )
    return rows


def deviation_of(values: Sequence[float]) -> float:
    """The standard deviation over seeds: 0 for one seed, NaN if any value is NaN."""
    if any(math.isnan(value) for value in values):
        return math.nan
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _by_name(combine: Callable[[list[float]], float], tables: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: combine([table[name] for table in tables]) for name in tables[0]}


def write_csv(path: Path, records: Sequence[Record]) -> None:
    """One line for each record, with a column for each detail and the score of each class."""
    lines: list[dict[str, Any]] = []
    for record in records:
        line = dataclasses.asdict(record)
        details, by_class = line.pop("details"), line.pop("by_class")
        line |= details | {f"class {name}": value for name, value in by_class.items()}
        lines.append(line)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]) if lines else [])
        writer.writerow({name: _as_text(name) for name in writer.fieldnames})
        writer.writerows({name: _as_text(value) for name, value in line.items()} for line in lines)


def _as_text(value: object) -> object:
    """A cell of a CSV file; a spreadsheet would take text that begins like this for a formula, and carry it out."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def write_latex(path: Path, summary: Sequence[Summary]) -> None:
    """The pooled score as a table for a paper: a row for each method, a column for each stream (needs booktabs)."""
    streams = list(dict.fromkeys(row.stream for row in summary))
    cells = {(row.title, row.stream): row for row in summary}
    lines = [r"\begin{tabular}{l" + "r" * len(streams) + "r}", r"\toprule"]
    lines += [" & ".join(["Method", *map(_escaped, streams), r"$\times$ joint"]) + r" \\", r"\midrule"]
    for title in dict.fromkeys(row.title for row in summary):
        rows = [cells.get((title, stream)) for stream in streams]
        scores = [
            "" if row is None else format_number(row.pooled, row.spread(row.deviation), digits=1).replace("±", r"$\pm$")
            for row in rows
        ]
        ratios = [row.time_ratio for row in rows if row is not None and row.time_ratio is not None]
        scores.append(f"{statistics.fmean(ratios):.1f}" if ratios else "")
        lines.append(" & ".join([_escaped(title), *scores]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


LATEX = {letter: f"\\{letter}" for letter in "&%$#_{}"}
LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _escaped(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in printable(text))


def _record(cell: Cell, tally: PassTally) -> Record:
    scores = tally.metric.compute()
    return Record(
        stream=cell.stream,
        method=cell.method,
        window=cell.window,
        seed=cell.seed,
        frames=tally.frames,
        frames_scored=sum(not math.isnan(score) for score in tally.metric.frame_scores),
        pooled=scores.pooled,
        paper=scores.paper,
        by_class=scores.by_class,
        details=scores.details,
        adapt_seconds=(sum(tally.adapt_seconds) + tally.study_seconds) / tally.frames,
        predict_seconds=statistics.fmean(tally.predict_seconds),
        skipped_steps=tally.skipped_steps,
        peak_mebibytes=tally.peak_mebibytes,
        consistency=None if tally.consistency is None else tally.consistency.compute().paper,
    )
