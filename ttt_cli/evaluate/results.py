"""The files of an evaluation's folder: nothing there is deleted or replaced that `tttv eval` did not write."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.evaluate.journal import CELLS, read_cells
from ttt_cli.run.folder import REPORT, is_report

METRICS = "metrics.json"
TABLE = "metrics.csv"
LATEX = "metrics.tex"
BY_DETECTRON = "detectron2.json"
NAMES = (METRICS, TABLE, LATEX, BY_DETECTRON)
"""What is written beside the journal. From the moment that there is a journal of ours, these names are ours."""


def claim(folder: Path, overwrite: bool) -> None:
    """Makes sure that an evaluation may write to `folder`; with `overwrite`, deletes an earlier one's results.

    Raises TttvError if a file of one of these names is not of an evaluation, OSError if a file cannot be changed.
    """
    journal = folder / CELLS
    if not journal.is_file():
        check_absent(folder, (CELLS, *NAMES))
        return
    cells = read_cells(journal)[1].values()
    if overwrite:
        videos = [finished.video for finished in cells if finished.video]
        pages = [REPORT] if is_report(folder / REPORT) else []
        for name in (*NAMES, *videos, *pages, CELLS):
            (folder / name).unlink(missing_ok=True)


def check_absent(folder: Path, names: Iterable[str]) -> None:
    """Raises TttvError if there is a file of one of these names in the folder."""
    for path in (folder / name for name in names):
        if path.exists() or path.is_symlink():
            raise TttvError(
                f"{printable(path)}: exists, and tttv eval did not write it; move it away, or name another --out"
            )
