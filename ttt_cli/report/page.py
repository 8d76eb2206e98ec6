"""Puts tables, plots and pictures into one HTML page that needs no network and no other file."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.version import __version__
from ttt_cli.evaluate.comparison import ALL_STREAMS, BASELINE, Summary
from ttt_cli.evaluate.evaluation import PassTally
from ttt_cli.evaluate.figures import UNKNOWN, format_number, or_nan
from ttt_cli.report import plots
from ttt_cli.report.collect import Evaluation, SegmentRun, read
from ttt_cli.report.pictures import Picture, adjacent_frames, reconstructions

# Rows of the paper's tables by method, in the paper's order (Table 1 is ordered by setting). Other methods come last.
TABLE_1 = {
    "main-only": "Main Task Only",
    "joint": "MAE Joint Training",
    "no-memory": "TTT-MAE No Memory",
    "offline": "Offline TTT-MAE All Frames",
    "offline-oracle": "Offline TTT-MAE, best iteration by the labels (oracle)",
    "ln-adapt": "LN Adapt",
    "tent": "Tent",
    "tent+cb": "Tent with Class Balance",
    "self-train": "Self-Train",
    "self-train+cb": "Self-Train with Class Balance",
    "online": "Online TTT-MAE",
    "online+self-train": "Online TTT-MAE with Self-Train (ours)",
    "online+ln-adapt": "Online TTT-MAE with LN Adapt (ours)",
    "majority-vote": "Majority Vote",
    "temporal-smoothing": "Temporal Smoothing",
}
TABLE_4 = {
    "no-memory": "TTT-MAE No Memory",
    "implicit": "Implicit Memory Only",
    "explicit": "Explicit Memory Only",
    "online": "Online TTT-MAE",
}
BARS = ("main-only", "joint", "offline", "offline-oracle", "online", "online+self-train", "online+ln-adapt")
LINES = ("joint", "tent", "offline", "online", "online+self-train", "online+ln-adapt")
SMOOTHED = 10
"""Curves along a video are running means over this many frames."""


@dataclass(frozen=True)
class Entry:
    """One cell of a table."""

    text: str
    """What the cell shows."""
    best: bool = False
    """Whether it is the highest in its column."""


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    columns: Sequence[str]
    """Titles of the columns; the first column names the row."""
    rows: Sequence[tuple[str, Sequence[Entry]]]
    """Name and other cells of each row."""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    """Heading."""
    text: str = ""
    """Paragraph under the heading."""
    tables: Sequence[Table] = ()
    """Tables under the text."""
    plots: Sequence[str] = ()
    """Plots as SVG."""
    pictures: Sequence[Picture] = ()
    """Pictures under the plots."""
    wide: bool = False
    """Whether there is only one picture in a row."""
    missing: Sequence[str] = ()
    """Why something could not be shown."""


def build(folders: Sequence[Path]) -> str:
    """The page about all folders, as HTML. Raises TttvError if a folder is not a finished run or evaluation."""
    sections: list[Section] = []
    for source in [read(folder) for folder in folders]:
        sections += evaluation_sections(source) if isinstance(source, Evaluation) else segment_sections(source)
    template = files("ttt_cli.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, finalize=_visible)
    return environment.from_string(template).render(sections=sections, version=__version__)


def _visible(value: object) -> object:
    """Text with control characters escaped, such as those in names of files; plots are drawn with such text."""
    return printable(value) if type(value) is str else value


def evaluation_sections(evaluation: Evaluation) -> list[Section]:
    """Tables 1 and 4, Figures 2 and 4, the curves along each video, and the score by class."""
    rows = evaluation.summary
    streams = [stream for stream in dict.fromkeys(row.stream for row in rows) if stream != ALL_STREAMS]
    name = evaluation.path.name
    weights = evaluation.subject["weights"]["name"]
    text = f"{evaluation.subject['dataset']}, weights {weights}, device {evaluation.subject['device']}."
    sections = [
        Section(
            f"{name}: methods",
            f"{text} {evaluation.quantity}, pooled; deviation over seeds; in brackets gain over {BASELINE}.",
            tables=[_methods_table(rows, streams, TABLE_1, others=True)],
        )
    ]
    if len({row.method for row in rows} & TABLE_4.keys()) > 1:
        memory = _methods_table(rows, streams, TABLE_4, others=False)
        sections.append(Section(f"{name}: what each memory is worth", tables=[memory]))
    scored = [stream for stream in streams if all(_is_known(row) for row in rows if row.stream == stream)]
    methods = [method for method in BARS if any(row.method == method for row in rows)]
    if scored and len(methods) > 1:
        series = {method: [_main_row(rows, method, stream).pooled for stream in scored] for method in methods}
        sections.append(
            Section(
                f"{name}: at a glance",
                plots=[plots.bars(scored, series, evaluation.quantity, f"{name}: bars")],
            )
        )
    curves = [plot for stream in streams if (plot := _windows_plot(evaluation, stream))]
    if curves:
        sections.append(Section(f"{name}: windows", plots=curves))
    sections += [_along(evaluation, stream) for stream in streams]
    for stream in streams:
        details = _details_table([row for row in rows if row.stream == stream])
        if len(details.columns) > 1:
            sections.append(Section(f"{name}: more of {stream}", tables=[details]))
    if evaluation.has_classes:
        for stream in streams:
            table = _class_table([row for row in rows if row.stream == stream])
            sections.append(Section(f"{name}: {evaluation.score} by class, {stream}", tables=[table]))
    return sections


def segment_sections(run: SegmentRun) -> list[Section]:
    """Loss and time along the video, adjacent frames, and what the model reconstructs."""
    name = run.folder.path.name
    report = run.report
    frames = [float(frame["index"]) for frame in run.frames]
    lines = {
        "loss": [plots.Line("loss", frames, [or_nan(frame["loss"]) for frame in run.frames])],
        "milliseconds": [
            plots.Line(stage, frames, [or_nan(frame["milliseconds"].get(stage)) for frame in run.frames])
            for stage in ("adapt", "predict")
        ],
    }
    drawn = [plots.along_the_video(curves, quantity, f"{name}: {quantity}") for quantity, curves in lines.items()]
    method = report["settings"]["adaptation"]["method"]
    text = f"{report['input']}: {report['frames']} frames, method {method}, {report['status']}."
    sections = [Section(f"{name}: along the video", text, plots=drawn)]
    sections.append(_pictures(f"{name}: adjacent frames", adjacent_frames, run, wide=True))
    sections.append(_pictures(f"{name}: reconstruction", reconstructions, run, wide=False))
    return sections


def _pictures(title: str, take: Callable[[SegmentRun], list[Picture]], run: SegmentRun, wide: bool) -> Section:
    try:
        return Section(title, pictures=take(run), wide=wide)
    except TttvError as error:
        return Section(title, missing=[f"left out: {error}"])


def _methods_table(rows: Sequence[Summary], streams: Sequence[str], names: dict[str, str], others: bool) -> Table:
    known = [method for method in names if any(row.method == method for row in rows)]
    rest = [row.method for row in rows if row.method not in names] if others else []
    titles = [title for method in dict.fromkeys([*known, *rest]) for title in _titles(rows, method)]
    by_title_and_stream = {(row.title, row.stream): row for row in rows}
    best = {
        stream: _best(row.pooled for row in rows if row.stream == stream and row.title in titles) for stream in streams
    }
    table = []
    for title in titles:
        results = [by_title_and_stream[title, stream] for stream in streams]
        scores = [Entry(_score(result), result.pooled == best[result.stream]) for result in results]
        ratios = [result.time_ratio for result in results if result.time_ratio is not None]
        peaks = [result.peak_mebibytes for result in results if result.peak_mebibytes is not None]
        table.append(
            (
                f"{names.get(results[0].method, results[0].method)} [{title}]",
                [
                    *scores,
                    Entry(format_number(statistics.fmean(result.pooled for result in results), digits=2)),
                    Entry(format_number(statistics.fmean(result.seconds for result in results), digits=3)),
                    Entry(format_number(statistics.fmean(ratios) if ratios else None, digits=2)),
                    Entry(format_number(max(peaks, default=None), digits=0)),
                ],
            )
        )
    return Table(["method", *streams, "mean", "s/frame", f"x {BASELINE}", "MiB"], table)


def _titles(rows: Sequence[Summary], method: str) -> list[str]:
    return list(dict.fromkeys(row.title for row in rows if row.method == method))


def _main_row(rows: Sequence[Summary], method: str, stream: str) -> Summary:
    """The row of a method on a stream; the first if it ran with several windows."""
    return next(row for row in rows if row.method == method and row.stream == stream)


def _best(scores: Iterable[float]) -> float:
    """The highest known score; NaN if none is known."""
    return max((score for score in scores if not math.isnan(score)), default=math.nan)


def _is_known(row: Summary) -> bool:
    return not math.isnan(row.pooled)


def _score(row: Summary) -> str:
    gain = "" if row.gain is None or row.method == BASELINE else f" ({row.gain:+.2f})"
    return format_number(row.pooled, row.spread(row.deviation), digits=2) + gain


def _windows_plot(evaluation: Evaluation, stream: str) -> str | None:
    rows, lines = evaluation.summary, []
    for method in dict.fromkeys(row.method for row in rows):
        chosen = [row for row in rows if (row.method, row.stream) == (method, stream) and row.window is not None]
        chosen.sort(key=lambda row: row.window or math.inf)
        if len(chosen) > 1 and all(map(_is_known, chosen)):
            sizes = [float(row.window or math.inf) for row in chosen]
            spread = [row.deviation for row in chosen]
            lines.append(plots.Line(method, sizes, [row.pooled for row in chosen], spread))
    return (
        plots.over_windows(lines, evaluation.quantity, f"{evaluation.path.name}, {stream}: windows") if lines else None
    )


def _along(evaluation: Evaluation, stream: str) -> Section:
    """Score, loss and time of every frame of a stream, from each method's first pass."""
    first: dict[str, PassTally] = {}
    for cell, tally in evaluation.tallies.items():
        if cell.stream == stream:
            first.setdefault(cell.method, tally)
    drawn = {name: first[name] for name in LINES if name in first} or dict(list(first.items())[:5])
    scores, losses, times = [], [], []
    for name, tally in drawn.items():
        scale = 100 if tally.metric.unit == "percent" else 1
        values = [scale * value for value in tally.metric.frame_scores]
        if not all(map(math.isnan, values)):
            scores.append(plots.Line(name, _floats(tally.scored), _running_mean(values)))
        frames = _floats(range(tally.frames))
        spent = [adapt + predict for adapt, predict in zip(tally.adapt_seconds, tally.predict_seconds, strict=True)]
        times.append(plots.Line(name, frames, _running_mean([1000 * seconds for seconds in spent])))
        if any(loss is not None for loss in tally.losses):
            losses.append(plots.Line(name, frames, _running_mean([or_nan(loss) for loss in tally.losses])))
    title = f"{evaluation.path.name}: along {stream}"
    quantities = {evaluation.quantity: scores, "loss": losses, "milliseconds": times}
    curves = [
        plots.along_the_video(lines, quantity, f"{title}: {quantity}")
        for quantity, lines in quantities.items()
        if lines
    ]
    return Section(title, f"Each curve is the mean of the last {SMOOTHED} frames.", plots=curves)


def _details_table(summary: list[Summary]) -> Table:
    """Quantities other than the score, such as SQ and RQ or flicker; those that no method has are left out."""
    details = {row.title: row.shown_details() for row in summary}
    names = [name for name in summary[0].details if any(values[name] != UNKNOWN for values in details.values())]
    rows = [(title, [Entry(values[name]) for name in names]) for title, values in details.items()]
    return Table(["method", *names], rows)


def _class_table(summary: list[Summary]) -> Table:
    names = list(summary[0].by_class)
    best = {name: _best(row.by_class[name] for row in summary) for name in names}
    rows = []
    for row in summary:
        scores = row.by_class
        entries = [Entry(format_number(scores[name], digits=1), scores[name] == best[name]) for name in names]
        rows.append((row.title, entries))
    return Table(["method", *names], rows)


def _running_mean(values: Sequence[float]) -> list[float]:
    return [statistics.fmean(values[max(0, end - SMOOTHED) : end]) for end in range(1, len(values) + 1)]


def _floats(values: Sequence[int]) -> list[float]:
    return [float(value) for value in values]
