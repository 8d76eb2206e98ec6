"""The tables of an evaluation."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ttt_cli.evaluate.comparison import BASELINE, Summary
from ttt_cli.evaluate.figures import UNKNOWN, format_number

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


@dataclass(frozen=True)
class Entry:
    """One cell of a table."""

    text: str
    """What the cell shows."""
    best: bool = False
    """Whether no other in its column shows more, and some show less."""


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    columns: Sequence[str]
    """Titles of the columns; the first column names the row."""
    rows: Sequence[tuple[str, Sequence[Entry]]]
    """Name and other cells of each row."""


def methods_table(rows: Sequence[Summary], streams: Sequence[str], names: Mapping[str, str], others: bool) -> Table:
    """The score of each method on each stream, with what it costs. others: with methods that are not in `names`."""
    known = [method for method in names if any(row.method == method for row in rows)]
    rest = [row.method for row in rows if row.method not in names] if others else []
    titles = [title for method in dict.fromkeys([*known, *rest]) for title in _titles(rows, method)]
    results = {(row.title, row.stream): row for row in rows}
    columns = {stream: [results[title, stream].pooled for title in titles] for stream in streams}
    means = [statistics.fmean(columns[stream][number] for stream in streams) for number in range(len(titles))]
    best = {stream: best_of(values, digits=2) for stream, values in columns.items()}
    best_mean = best_of(means, digits=2)
    table = []
    for number, title in enumerate(titles):
        of_title = [results[title, stream] for stream in streams]
        scores = [Entry(_score(result), best[result.stream][number]) for result in of_title]
        mean = [Entry(format_number(means[number], digits=2), best_mean[number])] if len(streams) > 1 else []
        ratios = [result.time_ratio for result in of_title if result.time_ratio is not None]
        peaks = [result.peak_mebibytes for result in of_title if result.peak_mebibytes is not None]
        costs = [
            Entry(format_number(statistics.fmean(result.seconds for result in of_title), digits=3)),
            Entry(format_number(statistics.fmean(ratios) if ratios else None, digits=2)),
            Entry(format_number(max(peaks, default=None), digits=0)),
        ]
        table.append((f"{names.get(of_title[0].method, of_title[0].method)} [{title}]", [*scores, *mean, *costs]))
    mean_title = ["mean"] if len(streams) > 1 else []
    return Table(["method", *streams, *mean_title, "s/frame", f"× {BASELINE}", "MiB"], table)


def details_table(summary: Sequence[Summary]) -> Table:
    """Quantities other than the score, such as SQ and RQ or flicker; those that no method has are left out."""
    details = {row.title: row.shown_details() for row in summary}
    names = [name for name in summary[0].details if any(values[name] != UNKNOWN for values in details.values())]
    rows = [(title, [Entry(values[name]) for name in names]) for title, values in details.items()]
    return Table(["method", *names], rows)


def class_table(summary: Sequence[Summary]) -> Table:
    """The score of each class: a row for each, since there are more classes than methods."""
    rows = []
    for name in summary[0].by_class:
        values = [row.by_class[name] for row in summary]
        best = best_of(values, digits=1)
        entries = [Entry(format_number(value, digits=1), best[number]) for number, value in enumerate(values)]
        rows.append((name, entries))
    return Table(["class", *(row.title for row in summary)], rows)


def best_of(values: Sequence[float], digits: int) -> list[bool]:
    """Which are the highest as they are shown, with so many digits; none if all that are known show the same."""
    shown = [format_number(value, digits=digits) for value in values]
    known = {float(text) for text in shown if text != UNKNOWN}
    return [len(known) > 1 and text != UNKNOWN and float(text) == max(known) for text in shown]


def _titles(rows: Sequence[Summary], method: str) -> list[str]:
    return list(dict.fromkeys(row.title for row in rows if row.method == method))


def _score(row: Summary) -> str:
    gain = "" if row.gain is None or row.method == BASELINE else f" ({row.gain:+.2f})"
    return format_number(row.pooled, row.spread(row.deviation), digits=2) + gain
