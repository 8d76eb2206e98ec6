"""Where a run writes. Importing this does not import torch."""

from __future__ import annotations

from pathlib import Path

from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.frame import Video
from ttt_cli.run.folder import RunFolder
from ttt_cli.run.settings import RunSettings

VIDEO = ".mp4"
"""How the name of a video ends that a user wants the overlay in."""


def names_video(out: Path | None) -> bool:
    """Whether an output is a video file, beside which the run folder is, and not the folder itself."""
    return out is not None and out.suffix.lower() == VIDEO and not out.is_dir()


def run_folder(out: Path | None, video: Video, settings: RunSettings) -> RunFolder:
    """The folder of a run: `out`, without .mp4 if it is a video; by default runs/NAME-KIND in the current folder.

    Raises UsageError for a video that is not to be written.
    """
    if out is None:
        return RunFolder(Path("runs") / f"{video.name}-{settings.kind}")
    if not names_video(out):
        return RunFolder(out)
    if not settings.output.overlay:
        raise UsageError(f"{printable(out)}: is a video, and --no-overlay writes none; name a folder with --out")
    return RunFolder(out.with_suffix(""), out)
