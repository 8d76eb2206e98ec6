"""What can be told of a run before torch is imported, which takes seconds. Importing this does not import torch."""

from __future__ import annotations

from pathlib import Path

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.run.naming import run_folder
from ttt_cli.run.settings import RunSettings
from ttt_cli.video.live import LiveSource
from ttt_cli.video.opening import open_input


def check_early(
    source: str | LiveSource, settings: RunSettings, out: Path | None, truth: Path | None, overwrite: bool, resume: bool
) -> None:
    """Raises what `run_video` would raise of the input, the labels and the run folder. Live input is not opened.

    The parameters are those of RunRequest.
    """
    if truth is not None and not truth.is_dir():
        raise TttvError(f"{printable(truth)}: there is no such folder of labels; check --gt")
    if not isinstance(source, LiveSource):
        video = open_input(source, settings.input)
        run_folder(out, video, settings).check(video.path, overwrite, resume)
