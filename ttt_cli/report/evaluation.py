"""What the page shows of a folder of `tttv eval`: tables, and plots of scores, losses and times."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_cli.core.errors import TttvError
from ttt_cli.core.toml import from_table
from ttt_cli.datasets import open_streams
from ttt_cli.datasets.stream import StreamRequest
from ttt_cli.evaluate.comparison import ALL_STREAMS, BASELINE, Summary
from ttt_cli.evaluate.evaluation import PassTally
from ttt_cli.report import plots
from ttt_cli.report.collect import Evaluation, Values
from ttt_cli.report.curves import Chart, chart_of, loss_kind
from ttt_cli.report.gallery import data_uri, jpeg
from ttt_cli.report.plots import Plot
from ttt_cli.report.provenance import Provenance, date_of, shown_command, shown_settings
from ttt_cli.report.tables import TABLE_1, TABLE_4, Table, class_table, details_table, methods_table
from ttt_cli.video.settings import InputSettings

LINES = ("joint", "tent", "offline", "online", "online+self-train", "online+ln-adapt")
SMOOTHED = 10
"""Curves along a video are running means over this many frames."""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    """Heading."""
    text: str = ""
    """Paragraph under the heading."""
    tables: Sequence[Table] = ()
    """Tables under the text."""
    plots: Sequence[Plot] = ()
    """Plots under the tables."""
    charts: Sequence[Chart] = ()
    """Curves along a video, drawn by charts.js."""
    frames: int = 0
    """How many frames the charts have."""


@dataclass(frozen=True)
class EvaluationView:
    """All that the page shows of an evaluation."""

    name: str
    """The folder's name."""
    facts: Sequence[str]
    """What was evaluated, in a few words each."""
    sections: Sequence[Section]
    provenance: Provenance
    missing: Sequence[str]
    """What could not be shown, and why."""


def view_of(evaluation: Evaluation) -> EvaluationView:
    """Makes the tables and plots of an evaluation, and reads a frame of its data."""
    subject, raw, missing = evaluation.subject, None, []
    try:
        raw = data_uri(_frame(subject))
    except TttvError as error:
        missing.append(f"a frame of the data: {error}")
    settings = shown_settings({name: subject[name] for name in ("input", "task", "adaptation", "reconstruction")})
    return EvaluationView(
        evaluation.path.name,
        [subject["dataset"], f"weights {subject['weights']['name']}", f"{evaluation.quantity}, pooled"],
        sections_of(evaluation),
        Provenance(shown_command(subject.get("command")), _facts(evaluation), settings, raw),
        missing,
    )


def sections_of(evaluation: Evaluation) -> list[Section]:
    """Tables 1 and 4, Figures 2 and 4, the curves along each video, and the score by class."""
    rows = evaluation.summary
    streams = [stream for stream in dict.fromkeys(row.stream for row in rows) if stream != ALL_STREAMS]
    text = (
        f"{evaluation.quantity}, pooled over all frames; ± deviation over seeds; in brackets the gain over {BASELINE}."
    )
    sections = [Section("Methods", text, tables=[methods_table(rows, streams, TABLE_1, others=True)])]
    if len({row.method for row in rows} & TABLE_4.keys()) > 1:
        memory = methods_table(rows, streams, TABLE_4, others=False)
        sections.append(Section("What each memory is worth", tables=[memory]))
    if glance := _glance(evaluation, streams):
        text = f"The bars are one standard deviation over seeds to either side, the line is {BASELINE}."
        sections.append(Section("At a glance", text, plots=glance))
    curves = [plot for stream in streams if (plot := _windows_plot(evaluation, stream))]
    if curves:
        sections.append(Section("Windows", plots=curves))
    sections += [_along(evaluation, stream) for stream in streams]
    for stream in streams:
        of_stream = [row for row in rows if row.stream == stream]
        details = details_table(of_stream)
        if len(details.columns) > 1:
            sections.append(Section(f"More of {stream}", tables=[details]))
        if evaluation.has_classes:
            sections.append(Section(f"{evaluation.score} by class, {stream}", tables=[class_table(of_stream)]))
    return sections


def _glance(evaluation: Evaluation, streams: Sequence[str]) -> list[Plot]:
    rows, plotted = evaluation.summary, []
    order = list(TABLE_1)
    methods = sorted({row.method for row in rows}, key=lambda name: order.index(name) if name in order else len(order))
    for stream in streams if len(methods) > 1 else ():
        main = {method: _main_row(rows, method, stream) for method in methods}
        if all(map(_is_known, main.values())):
            values = {method: (row.pooled, row.deviation) for method, row in main.items()}
            baseline = BASELINE if BASELINE in values else None
            label = f"{evaluation.path.name}, {stream}: at a glance"
            plotted.append(plots.dots(values, baseline, evaluation.quantity, stream, label))
    return plotted


def _main_row(rows: Sequence[Summary], method: str, stream: str) -> Summary:
    """The row of a method on a stream; the first if it ran with several windows."""
    return next(row for row in rows if row.method == method and row.stream == stream)


def _is_known(row: Summary) -> bool:
    return not math.isnan(row.pooled)


def _windows_plot(evaluation: Evaluation, stream: str) -> Plot | None:
    rows, lines = evaluation.summary, []
    for method in dict.fromkeys(row.method for row in rows):
        chosen = [row for row in rows if (row.method, row.stream) == (method, stream) and row.window is not None]
        chosen.sort(key=lambda row: row.window or math.inf)
        if len(chosen) > 1 and all(map(_is_known, chosen)):
            sizes = [float(row.window or math.inf) for row in chosen]
            spread = [row.deviation for row in chosen]
            lines.append(plots.Line(method, sizes, [row.pooled for row in chosen], spread))
    title = f"{evaluation.path.name}, {stream}: windows"
    return plots.over_windows(lines, evaluation.quantity, stream, title) if lines else None


def _along(evaluation: Evaluation, stream: str) -> Section:
    """Score, losses and time of every frame of a stream, from each method's first pass.

    Losses that measure different things have plots of their own.
    """
    first: dict[str, PassTally] = {}
    for cell, tally in evaluation.tallies.items():
        if cell.stream == stream:
            first.setdefault(cell.method, tally)
    drawn = {name: first[name] for name in LINES if name in first} or dict(list(first.items())[:5])
    scores: dict[str, Values] = {}
    losses: dict[str, dict[str, Values]] = {}
    times: dict[str, Values] = {}
    for name, tally in drawn.items():
        scale = 100 if tally.metric.unit == "percent" else 1
        by_frame = dict(zip(tally.scored, [scale * value for value in tally.metric.frame_scores], strict=True))
        scores[name] = _running_mean([by_frame.get(frame) for frame in range(tally.frames)])
        losses.setdefault(loss_kind(name), {})[name] = _running_mean(tally.losses)
        spent = [adapt + predict for adapt, predict in zip(tally.adapt_seconds, tally.predict_seconds, strict=True)]
        times[name] = _running_mean([1000 * seconds for seconds in spent])
    colors = plots.colors_of(drawn)
    charts = [
        chart_of(evaluation.score, "%" if evaluation.unit == "percent" else evaluation.unit, scores, colors),
        *(chart_of(f"Loss: {kind}", "", lines, colors) for kind, lines in losses.items()),
        chart_of("Time", "ms", times, colors, from_zero=True),
    ]
    frames = max((tally.frames for tally in drawn.values()), default=0)
    known = [chart for chart in charts if chart is not None]
    return Section(
        f"Along {stream}", f"Each curve is the mean of the last {SMOOTHED} frames.", charts=known, frames=frames
    )


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    subject = evaluation.subject
    seeds = [cell.seed for cell in evaluation.tallies if cell.seed is not None]
    machine = subject.get("machine", {})
    return [
        ("labels", subject["truth"]),
        ("weights", f"{subject['weights']['name']}, SHA-256 {subject['weights']['sha256'][:16]}"),
        ("seeds", ", ".join(map(str, dict.fromkeys(seeds))) or "none: nothing is random"),
        ("finished", date_of(subject["finished"]) if "finished" in subject else "-"),
        ("machine", f"{machine.get('system', '-')}, {machine.get('cores', '-')} cores"),
        ("device", str(machine.get("gpu") or subject["device"])),
        ("versions", ", ".join(f"{name} {number}" for name, number in subject.get("versions", {}).items())),
        ("folder", str(evaluation.path.resolve())),
    ]


def _frame(subject: dict[str, Any]) -> bytes:
    """The first frame of the data, as a JPEG. Raises TttvError if it is not there any more."""
    wanted = from_table(InputSettings, subject["input"], "input")
    request = StreamRequest(
        Path(subject["truth"]), None, wanted, subject["task"]["task"], subject["every"], subject["split"]
    )
    frame = next(open_streams(subject["dataset"], request)[0].video.frames())
    return jpeg(frame.image.permute(1, 2, 0).numpy())


def _running_mean(values: Sequence[float | None]) -> Values:
    """The mean of the known ones of the last frames."""
    means: list[float | None] = []
    for end in range(1, len(values) + 1):
        known = [value for value in values[max(0, end - SMOOTHED) : end] if value is not None and not math.isnan(value)]
        means.append(round(statistics.fmean(known), 5) if known else None)
    return means
