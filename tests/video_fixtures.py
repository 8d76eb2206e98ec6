"""Videos and pictures made on the fly, and ffmpeg's description of a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ttt_cli.video import ffmpeg


def make_video(
    path: Path, *options: str, seconds: float = 1, size: str = "64x48", rate: str = "10", sound: bool = False
) -> Path:
    """A video of a moving test picture, with a tone if `sound`. options: passed to ffmpeg."""
    arguments = ["-loglevel", "level+error", "-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]
    if sound:
        arguments += ["-f", "lavfi", "-i", f"sine=d={seconds}"]
    code, messages = ffmpeg.run([*arguments, *(options or ("-pix_fmt", "yuv420p")), ffmpeg.file_url(path)])
    assert code == 0, messages
    return path


def describe(path: Path) -> str:
    """ffmpeg's report after decoding a whole file: streams, length and number of frames."""
    code, messages = ffmpeg.run(["-loglevel", "level+info", "-i", ffmpeg.file_url(path), "-f", "null", "-"])
    assert code == 0, messages
    return messages


def make_image(path: Path, size: tuple[int, int] = (6, 8), value: int = 100) -> Path:
    """A flat gray picture; size: (height, width)."""
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)
    return path
