"""Scores, averages over seeds and gains over the fixed model, out of the tallies of an evaluation; and their files."""

from __future__ import annotations

import csv
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_cli.evaluation import Cell, Tally
from ttt_cli.metrics.semantic import SemanticMetric
from ttt_cli.tasks.classes import Class

BASELINE = "joint"
ALL_STREAMS = "all"


@dataclass(frozen=True)
class Record:
    """One method with one window and one seed on one stream, or on all of them together.

    window, seed: as in Cell. miou_pooled, miou_paper, class_iou: percent, see metrics/semantic.py.
    frames_scored: those that have a label. adapt_seconds, predict_seconds: a frame, on average. peak_mebibytes: of
    the device's memory on CUDA, else of the process; None where that is not known.
    """

    stream: str
    method: str
    window: int | None
    seed: int | None
    frames: int
    frames_scored: int
    miou_pooled: float
    miou_paper: float
    class_iou: dict[str, float]
    adapt_seconds: float
    predict_seconds: float
    skipped_steps: int
    peak_mebibytes: float | None

    @property
    def seconds(self) -> float:
        """Of model time a frame."""
        return self.adapt_seconds + self.predict_seconds


@dataclass(frozen=True)
class Summary:
    """A method with one window on a stream, averaged over seeds.

    deviation: of miou_pooled over the seeds, 0 for one seed. gain: points of pooled mIoU above `joint`; time_ratio:
    model time over that of `joint`; both None where `joint` was not run.
    """

    stream: str
    method: str
    window: int | None
    seeds: int
    miou_pooled: float
    deviation: float
    miou_paper: float
    gain: float | None
    seconds: float
    time_ratio: float | None
    peak_mebibytes: float | None

    @property
    def title(self) -> str:
        """The method, and its window where it had one to choose."""
        return self.method if self.window is None else f"{self.method}, window {self.window or 'inf'}"


def records_of(tallies: Mapping[Cell, Tally], classes: Sequence[Class]) -> list[Record]:
    """One record for each cell, and where there are several streams one over all, after the last of a pass."""
    passes: dict[tuple[str, int | None, int | None], list[Cell]] = {}
    for cell in tallies:
        passes.setdefault((cell.method, cell.window, cell.seed), []).append(cell)
    records = []
    for cells in passes.values():
        records += [_record(cell, tallies[cell], classes) for cell in cells]
        if len(cells) > 1:
            total = Tally(SemanticMetric(len(classes)))
            for cell in cells:
                total += tallies[cell]
            records.append(_record(dataclasses.replace(cells[0], stream=ALL_STREAMS), total, classes))
    return records


def summarise(records: Sequence[Record]) -> list[Summary]:
    """One row for each stream, method and window, in order of appearance."""
    groups: dict[tuple[str, str, int | None], list[Record]] = {}
    for record in records:
        groups.setdefault((record.stream, record.method, record.window), []).append(record)
    rows = []
    for (stream, method, window), group in groups.items():
        pooled = [record.miou_pooled for record in group]
        baseline = groups.get((stream, BASELINE, None), [None])[0]
        seconds = statistics.fmean(record.seconds for record in group)
        rows.append(
            Summary(
                stream=stream,
                method=method,
                window=window,
                seeds=len(group),
                miou_pooled=statistics.fmean(pooled),
                deviation=statistics.stdev(pooled) if len(pooled) > 1 else 0.0,
                miou_paper=statistics.fmean(record.miou_paper for record in group),
                gain=None if baseline is None else statistics.fmean(pooled) - baseline.miou_pooled,
                seconds=seconds,
                time_ratio=None if baseline is None else seconds / baseline.seconds,
                peak_mebibytes=max((one.peak_mebibytes for one in group if one.peak_mebibytes), default=None),
            )
        )
    return rows


def write_csv(path: Path, records: Sequence[Record]) -> None:
    """One line for each record, the IoU of every class in a column of its own."""
    lines: list[dict[str, Any]] = []
    for record in records:
        line = dataclasses.asdict(record)
        line |= {f"iou {name}": value for name, value in line.pop("class_iou").items()}
        lines.append(line)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]) if lines else [])
        writer.writeheader()
        writer.writerows(lines)


def write_latex(path: Path, summary: Sequence[Summary]) -> None:
    """The pooled mIoU as a table for a paper: a row for each method, a column for each stream (needs booktabs)."""
    streams = list(dict.fromkeys(row.stream for row in summary))
    cells = {(row.title, row.stream): row for row in summary}
    lines = [r"\begin{tabular}{l" + "r" * len(streams) + "r}", r"\toprule"]
    lines += [" & ".join(["Method", *map(_escaped, streams), r"$\times$ joint"]) + r" \\", r"\midrule"]
    for title in dict.fromkeys(row.title for row in summary):
        rows = [cells.get((title, stream)) for stream in streams]
        shown = ["" if row is None else _score(row) for row in rows]
        ratios = [row.time_ratio for row in rows if row is not None and row.time_ratio is not None]
        shown.append(f"{statistics.fmean(ratios):.1f}" if ratios else "")
        lines.append(" & ".join([_escaped(title), *shown]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _score(row: Summary) -> str:
    return f"{row.miou_pooled:.1f}" + (rf" $\pm$ {row.deviation:.1f}" if row.seeds > 1 else "")


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "&%$#_{}" else letter for letter in text)


def _record(cell: Cell, tally: Tally, classes: Sequence[Class]) -> Record:
    scores = tally.metric.compute()
    return Record(
        stream=cell.stream,
        method=cell.method,
        window=cell.window,
        seed=cell.seed,
        frames=tally.frames,
        frames_scored=len(tally.metric.frame_miou),
        miou_pooled=scores["miou_pooled"],
        miou_paper=scores["miou_paper"],
        class_iou=dict(zip((one.name for one in classes), tally.metric.class_iou(), strict=True)),
        adapt_seconds=(sum(tally.adapt_seconds) + tally.study_seconds) / tally.frames,
        predict_seconds=statistics.fmean(tally.predict_seconds),
        skipped_steps=tally.skipped_steps,
        peak_mebibytes=tally.peak_mebibytes,
    )
