"""`tttv report`: makes an HTML page of runs and evaluations."""

from __future__ import annotations

import webbrowser
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ttt_cli.cli import _console
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.replacing import replacing

EPILOG = """Examples:

tttv report runs/eval-camvid

tttv report runs/drive-online --open

tttv report runs/drive-online --watch --open

tttv report runs/eval-camvid runs/eval-camvid-low-light --out report.html"""


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders written by tttv segment, colorize or eval.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Page to write. (default: report.html in the first folder)"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE even if it is not a report.")] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    watched: Annotated[
        bool,
        typer.Option("--watch", help="Serve the page to this machine while a run goes on, and renew it."),
    ] = False,
) -> None:
    """Make an HTML page that opens anywhere, even offline.

    Runs of segment and colorize give a player with the input, the fixed and the adapted model in step, curves that lead
    into it, and the frames worth looking at; for some of that the input and the weights must still exist. Evaluations
    give the paper's tables and curves.
    """
    from ttt_cli.run.folder import REPORT, is_report

    path = out or runs[0] / REPORT
    if not overwrite and path.exists() and not is_report(path):
        raise TttvError(f"{printable(path)}: exists and is no report; add --overwrite, or name another with --out")
    try:
        from ttt_cli.report.page import build
        from ttt_cli.report.watch import watch
    except ModuleNotFoundError as error:
        raise TttvError(f'{error.name} is not installed; python -m pip install "tttv[report]"') from error
    try:
        page = watch(runs, _waiting, partial(_watching, show)) if watched else build(runs)
    except KeyboardInterrupt:
        if watched:
            return  # That is how the user ends it.
        raise
    with replacing(path, remedy="choose another --out") as temporary:
        temporary.write_text(page, encoding="utf-8")
    _console.line(path)
    if show and not watched:
        _open(path.resolve().as_uri())


def _waiting(folder: Path) -> None:
    _console.line(f"{printable(folder)}: no run yet, waiting for one (Ctrl-C ends)")


def _watching(show: bool, address: str) -> None:
    _console.line(f"{address} shows the run while it goes on (Ctrl-C ends)")
    if show:
        _open(address)


def _open(address: str) -> None:
    if not webbrowser.open(address):
        _console.warning(f"no browser found; open {address}")
