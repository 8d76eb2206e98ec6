"""Opens whatever a run can read. Importing this does not import torch."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from ttt_cli.core.frame import Video
from ttt_cli.video.live import LiveSource, open_live
from ttt_cli.video.reader import open_video
from ttt_cli.video.selection import selection
from ttt_cli.video.settings import InputSettings


def open_input(source: str | Path | LiveSource, wanted: InputSettings) -> Video:
    """The frames of `source` that `wanted` selects, at full size. Raises what `open_video` and `open_live` raise."""
    if isinstance(source, LiveSource):
        return open_live(source, selection(wanted.start, wanted.end, wanted.stride, wanted.max_frames), wanted)
    return open_video(
        source,
        start_seconds=wanted.start,
        end_seconds=wanted.end,
        stride=wanted.stride,
        max_frames=wanted.max_frames,
        fps=None if wanted.fps is None else Fraction(str(wanted.fps)),
        reader=wanted.reader,
        hwaccel=wanted.hwaccel,
    )
