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
from ttt_cli.evaluate.figures import or_nan
from ttt_cli.report import plots
from ttt_cli.report.collect import Evaluation
from ttt_cli.report.curves import loss_kind
from ttt_cli.report.gallery import data_uri, jpeg
from ttt_cli.report.plots import Plot
from ttt_cli.report.provenance import Provenance, shown_command, shown_settings
from ttt_cli.report.tables import TABLE_1, TABLE_4, Table, class_table, details_table, methods_table
from ttt_cli.video.settings import InputSettings

COMPARED = ("main-only", "joint", "offline", "offline-oracle", "online", "online+self-train", "online+ln-adapt")
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
    glance = _glance(evaluation, streams)
    if glance is not None:
        text = f"The bar is one standard deviation over seeds to either side, the line is {BASELINE}."
        sections.append(Section("At a glance", text, plots=[glance]))
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


def _glance(evaluation: Evaluation, streams: Sequence[str]) -> Plot | None:
    rows = evaluation.summary
    scored = [stream for stream in streams if all(_is_known(row) for row in rows if row.stream == stream)]
    methods = [method for method in COMPARED if any(row.method == method for row in rows)]
    if not scored or len(methods) < 2:
        return None
    chosen = {method: [_main_row(rows, method, stream) for stream in scored] for method in methods}
    series = {method: [(row.pooled, row.deviation) for row in of_method] for method, of_method in chosen.items()}
    return plots.dots(scored, series, BASELINE, evaluation.quantity, f"{evaluation.path.name}: at a glance")


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
    return plots.over_windows(lines, f"{evaluation.quantity}, {stream}", title) if lines else None


def _along(evaluation: Evaluation, stream: str) -> Section:
    """Score, losses and time of every frame of a stream, from each method's first pass.

    Losses that measure different things have plots of their own.
    """
    first: dict[str, PassTally] = {}
    for cell, tally in evaluation.tallies.items():
        if cell.stream == stream:
            first.setdefault(cell.method, tally)
    drawn = {name: first[name] for name in LINES if name in first} or dict(list(first.items())[:5])
    quantities: dict[str, list[plots.Line]] = {evaluation.quantity: []}
    times = []
    for name, tally in drawn.items():
        scale = 100 if tally.metric.unit == "percent" else 1
        values = [scale * value for value in tally.metric.frame_scores]
        if not all(map(math.isnan, values)):
            quantities[evaluation.quantity].append(plots.Line(name, _floats(tally.scored), _running_mean(values)))
        frames = _floats(range(tally.frames))
        if any(loss is not None for loss in tally.losses):
            line = plots.Line(name, frames, _running_mean([or_nan(loss) for loss in tally.losses]))
            quantities.setdefault(f"loss: {loss_kind(name)}", []).append(line)
        spent = [adapt + predict for adapt, predict in zip(tally.adapt_seconds, tally.predict_seconds, strict=True)]
        times.append(plots.Line(name, frames, _running_mean([1000 * seconds for seconds in spent])))
    quantities["milliseconds"] = times
    title = f"{evaluation.path.name}: along {stream}"
    curves = [
        plots.along_the_video(lines, quantity, f"{title}: {quantity}", from_zero=lines is times)
        for quantity, lines in quantities.items()
        if lines
    ]
    return Section(f"Along {stream}", f"Each curve is the mean of the last {SMOOTHED} frames.", plots=curves)


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    subject = evaluation.subject
    seeds = [cell.seed for cell in evaluation.tallies if cell.seed is not None]
    machine = subject.get("machine", {})
    return [
        ("labels", subject["truth"]),
        ("weights", f"{subject['weights']['name']}, SHA-256 {subject['weights']['sha256'][:16]}"),
        ("seeds", ", ".join(map(str, dict.fromkeys(seeds))) or "none: nothing is random"),
        ("finished", subject.get("finished", "-")),
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


def _running_mean(values: Sequence[float]) -> list[float]:
    return [statistics.fmean(values[max(0, end - SMOOTHED) : end]) for end in range(1, len(values) + 1)]


def _floats(values: Sequence[int]) -> list[float]:
    return [float(value) for value in values]
