"""How `tttv eval` shows its scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ttt_cli.cli import _console
from ttt_cli.cli import _groups as groups
from ttt_cli.evaluate.figures import UNKNOWN, format_number

if TYPE_CHECKING:
    from ttt_cli.evaluate.comparison import Summary
    from ttt_cli.evaluate.running import Outcome

MOST_ROWS = 20
METHODS_ABREAST = 3


def present(
    outcome: Outcome, folder: Path, run: groups.RunOptions, protocol: str, left_out: list[str], videos: bool
) -> None:
    """Shows a finished evaluation: tables and the paths of its files, JSON, or only the folder."""
    from ttt_cli.evaluate.results import BY_DETECTRON, LATEX, METRICS, TABLE
    from ttt_cli.run.folder import to_json

    if run.as_json:
        _console.raw(to_json({"folder": str(folder), **outcome.content}))
    elif run.quiet:
        _console.line(folder)
    else:
        _show(outcome, protocol)
        for reason in left_out:
            _console.line(f"left out: {reason}")
        for name in (METRICS, TABLE, LATEX, *([BY_DETECTRON] if (folder / BY_DETECTRON).is_file() else [])):
            _console.line(folder / name)
        for path in sorted(folder.glob("*.mp4")) if videos else ():
            _console.line(path)


def _show(outcome: Outcome, protocol: str) -> None:
    """Prints tables of scores, details and classes for each stream, narrow enough for 80 columns."""
    protocols = [name for name in ("pooled", "paper") if protocol in (name, "both")]
    columns = ("method", protocols[0], "gain", *protocols[1:], "s/frame", "x joint", "MiB")
    score, unit = outcome.content["score"], outcome.content["unit"]
    scored = {record.stream: f"{record.frames_scored} of {record.frames} frames scored" for record in outcome.records}
    for stream in dict.fromkeys(row.stream for row in outcome.summary):
        rows = [row for row in outcome.summary if row.stream == stream]
        title = f"{stream}: {score} in {unit}; {scored[stream]}"
        _console.table(title, columns, [_row(row, protocols) for row in rows])
        details = {row.title: row.shown_details() for row in rows}
        if outcome.content["consistency"]:
            details = {row.title: {**details[row.title], "consistency": format_number(row.consistency)} for row in rows}
        _numbers(f"{stream}, pooled", details)
        by_class = {row.title: {name: format_number(value) for name, value in row.by_class.items()} for row in rows}
        _numbers(f"{stream}: {score} by class, pooled", by_class)


def _numbers(title: str, methods: dict[str, dict[str, str]]) -> None:
    """Prints a row for each quantity that any method has, a few methods side by side; nothing above MOST_ROWS rows."""
    names = [
        name for name in next(iter(methods.values())) if any(values[name] != UNKNOWN for values in methods.values())
    ]
    if not 0 < len(names) <= MOST_ROWS:
        return
    for first in range(0, len(methods), METHODS_ABREAST):
        block = list(methods)[first : first + METHODS_ABREAST]
        _console.table(title, ("", *block), [(name, *(methods[method][name] for method in block)) for name in names])


def _row(row: Summary, protocols: list[str]) -> tuple[str, ...]:
    measured = {
        "pooled": (row.pooled, row.deviation, row.gain),
        "paper": (row.paper, row.paper_deviation, row.paper_gain),
    }
    chosen = [measured[name] for name in protocols]
    scores = [format_number(mean, row.spread(deviation), 2) for mean, deviation, _ in chosen]
    gain = measured[protocols[0]][2]
    return (
        row.title,
        scores[0],
        UNKNOWN if gain is None or math.isnan(gain) else f"{gain:+.2f}",
        *scores[1:],
        format_number(row.seconds, digits=3),
        format_number(row.time_ratio, digits=2),
        format_number(row.peak_mebibytes, digits=0),
    )
