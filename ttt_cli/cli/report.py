"""`tttv report`: makes an HTML page from finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ttt_cli.cli import _console
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.replacing import replacing

EPILOG = """Examples:

tttv report runs/eval-camvid

tttv report runs/eval-camvid runs/eval-camvid-low-light runs/drive-online --out report.html"""


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders written by tttv eval or tttv segment.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Page to write. (default: report.html in the first folder)"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE even if it is not a report.")] = False,
) -> None:
    """Make an HTML page of tables, plots and pictures that opens anywhere, even offline.

    Evaluations give the paper's tables and curves. Runs of segment give loss and time along the video, adjacent frames
    and reconstructions; for the reconstructions, the input and the weights must still exist.
    """
    from ttt_cli.run.folder import REPORT, is_report

    path = out or runs[0] / REPORT
    if not overwrite and path.exists() and not is_report(path):
        raise TttvError(f"{printable(path)}: exists and is no report; add --overwrite, or name another with --out")
    try:
        from ttt_cli.report.page import build
    except ModuleNotFoundError as error:
        raise TttvError(f'{error.name} is not installed; python -m pip install "tttv[report]"') from error
    page = build(runs)
    with replacing(path, remedy="choose another --out") as temporary:
        temporary.write_text(page, encoding="utf-8")
    _console.line(path)
