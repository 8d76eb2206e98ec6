"""The files of an evaluation's folder: nothing there is deleted or replaced that `tttv eval` did not write."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.evaluate.journal import CELLS, read_journal
from ttt_cli.run.folder import REPORT, is_report

METRICS = "metrics.json"
TABLE = "metrics.csv"
LATEX = "metrics.tex"
BY_DETECTRON = "detectron2.json"
UNFINISHED = "unfinished"
"""A folder that has a folder of pieces for each overlay video that is being written."""
NAMES = (METRICS, TABLE, LATEX, BY_DETECTRON, UNFINISHED)
"""What is written beside the journal. From the moment that there is a journal of ours, these names are ours."""


def claim(folder: Path, overwrite: bool) -> None:
    """Makes sure that an evaluation may write to `folder`; with `overwrite`, deletes an earlier one's results.

    Raises TttvError if a file of one of these names is not of an evaluation, OSError if a file cannot be changed.
    """
    journal = folder / CELLS
    if not journal.is_file():
        check_absent(folder, (CELLS, *NAMES))
        return
    videos = read_journal(journal).videos
    clear_unfinished(folder, videos)
    if overwrite:
        pages = [REPORT] if is_report(folder / REPORT) else []
        for name in (METRICS, TABLE, LATEX, BY_DETECTRON, *videos, *pages, CELLS):
            (folder / name).unlink(missing_ok=True)


def clear_unfinished(folder: Path, videos: Iterable[str]) -> None:
    """Deletes the pieces of these overlay videos, which a process that was killed leaves behind."""
    for video in videos:
        shutil.rmtree(folder / UNFINISHED / video, ignore_errors=True)
    with suppress(OSError):  # The folder stays if the user keeps something in it.
        (folder / UNFINISHED).rmdir()


def check_absent(folder: Path, names: Iterable[str]) -> None:
    """Raises TttvError if there is a file of one of these names in the folder."""
    for path in (folder / name for name in names):
        if path.exists() or path.is_symlink():
            raise TttvError(
                f"{printable(path)}: exists, and tttv eval did not write it; move it away, or name another --out"
            )
