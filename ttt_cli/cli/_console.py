"""Writes to the terminal. Only this module imports rich. Text from outside is shown as it is, never as markup."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal, Protocol

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from ttt_cli.core.errors import printable

SECONDS_BETWEEN_LINES = 5.0
"""Of progress, where there is no terminal."""


WIDTH_BETWEEN = 3
"""Of the columns of a table."""
WHOLE_HEADING = 7
"""Headings that are no longer are not broken."""


class Bar(Protocol):
    """A running progress bar."""

    def begin(self, done: int) -> None:
        """Says how many units were done before the bar appeared."""

    def advance(self, note: str) -> None:
        """Advances by one unit; `note` is shown at the end of the line."""

    def expect(self, total: int) -> None:
        """Sets the number of units that are expected."""

    def note(self, text: str) -> None:
        """Changes the text at the end of the line."""

    def say(self, text: str) -> None:
        """Prints a permanent line above the bar, on standard error, even if no bar is shown."""


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__(Column(no_wrap=True))
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.2f} {self.unit}/s")


class _RichBar:
    def __init__(self, progress: Progress, total: int | None) -> None:
        self.progress = progress
        self.task = progress.add_task("", total=total, note="")

    def begin(self, done: int) -> None:
        self.progress.update(self.task, completed=done)

    def advance(self, note: str) -> None:
        self.progress.update(self.task, advance=1, note=note)

    def expect(self, total: int) -> None:
        self.progress.update(self.task, total=total)

    def note(self, text: str) -> None:
        self.progress.update(self.task, note=text)

    def say(self, text: str) -> None:
        self.progress.console.print(Text(printable(text)), soft_wrap=True)


@contextmanager
def spinner(text: str, shown: bool) -> Iterator[Callable[[str], None]]:
    """A spinner beside a text on standard error, which the function that is yielded changes, removed when it ends.

    Not shown if that is not a terminal or `shown` is False.
    """
    console = _stderr()
    if not (shown and console.is_terminal):
        yield lambda text: None
        return
    with console.status(Text(printable(text))) as status:
        yield lambda text: status.update(Text(printable(text)))


class _Lines:
    """A bar for logs: a line on standard error every few seconds."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.text = ""
        self.done = self.before = 0
        self.began = self.told = time.monotonic()

    def begin(self, done: int) -> None:
        self.done = self.before = done

    def advance(self, note: str) -> None:
        self.done += 1
        self.note(note)

    def expect(self, total: int) -> None:
        self.total = total

    def note(self, text: str) -> None:
        self.text = text
        now = time.monotonic()
        if now - self.told >= SECONDS_BETWEEN_LINES:
            self.told = now
            self.say(self._line(now - self.began))

    def say(self, text: str) -> None:
        print(printable(text), file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        rate = (self.done - self.before) / seconds
        total = "" if self.total is None else f" of {self.total}"
        words = [f"{self.done}{total} {self.unit}"]
        if rate:
            words.append(f"{rate:.2f} {self.unit}/s")
            left = 0.0 if self.total is None else (self.total - self.done) / rate
            words += [f"{timedelta(seconds=round(left))} left"] if left > 0 else []
        return f"{self.title}: {', '.join([*words, self.text] if self.text else words)}"


@contextmanager
def progress_bar(title: str, total: int | None, unit: str, shown: bool) -> Iterator[Bar]:
    """A bar on standard error, removed when it ends; if that is no terminal, a line every few seconds.

    total: how many units are expected; None if unknown. shown: if it is False, there is neither.
    """
    console = _stderr()
    if shown and not console.is_terminal:
        yield _Lines(title, total, unit)
        return
    with Progress(
        TextColumn(printable(title), markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=console,
        transient=True,
        disable=not shown,
    ) as progress:
        yield _RichBar(progress, total)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table on standard output; all columns but the first are aligned to the right.

    Where it is too wide, headings are broken first, then names in the first column, and never numbers.
    """
    drawn = Table(title=Text(printable(title)), title_justify="left", box=box.SIMPLE_HEAD)
    _fill(drawn, columns, rows, "right")


def facts(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Prints names and their values on standard output."""
    drawn = Table(title=Text(printable(title)), title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    _fill(drawn, ("", ""), rows, "left")


Side = Literal["left", "right"]


def _fill(drawn: Table, columns: Sequence[str], rows: Sequence[Sequence[str]], justify: Side) -> None:
    console = _stdout()
    names, *others = [
        max(min(len(column), WHOLE_HEADING), *(len(printable(row[index])) for row in rows), 0)
        for index, column in enumerate(columns)
    ]
    kept = others if justify == "right" else [0 for _ in others]
    room = console.width - sum(kept) - WIDTH_BETWEEN * len(columns) - 1
    for index, (column, width) in enumerate(zip(columns, [min(names, room), *kept], strict=True)):
        drawn.add_column(Text(column), justify=justify if index else "left", overflow="fold", min_width=max(width, 1))
    for row in rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    console.print(drawn)


def line(text: object) -> None:
    """Prints one line on standard output, unwrapped, with control characters escaped."""
    _stdout().print(Text(printable(text)), soft_wrap=True)


def message(text: str, exit_code: int, as_json: bool) -> None:
    """Prints what ends the program well on standard output, as one line or as a JSON object."""
    if as_json:
        raw(json.dumps({"message": text, "exit_code": exit_code}))
    else:
        line(text)


def raw(text: str) -> None:
    """Prints text on standard output as it is, for programs that read it."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """Sends what is still printed nowhere: its reader has gone, as in `tttv ... | head -1`. A run is none the worse."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def error(text: object) -> None:
    """Prints an error on standard error, as one line."""
    print(f"error: {printable(text)}", file=sys.stderr)


def error_as_json(text: str, exit_code: int) -> None:
    """Prints an error on standard output, for programs that read JSON there."""
    raw(json.dumps({"error": text, "exit_code": exit_code}))


def warning(text: object) -> None:
    """Prints a warning on standard error, as one line; the program goes on."""
    print(f"warning: {printable(text)}", file=sys.stderr)


class _Output(Console):
    def on_broken_pipe(self) -> None:
        discard_output()


def _stderr() -> Console:
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def _stdout() -> Console:
    return _Output(markup=False, highlight=False, emoji=False)
