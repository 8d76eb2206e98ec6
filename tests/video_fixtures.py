"""Videos and pictures made on the fly, and what ffmpeg says of a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ttt_cli.video import ffmpeg


def make_video(
    path: Path, *options: str, seconds: float = 1, size: str = "64x48", rate: str = "10", sound: bool = False
) -> Path:
    """A test picture, every frame of it different, with a tone where `sound` is asked for; `options` go to ffmpeg."""
    arguments = ["-loglevel", "level+error", "-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]
    if sound:
        arguments += ["-f", "lavfi", "-i", f"sine=d={seconds}"]
    code, messages = ffmpeg.run([*arguments, *(options or ("-pix_fmt", "yuv420p")), ffmpeg.file_url(path)])
    assert code == 0, messages
    return path


def describe(path: Path) -> str:
    """What ffmpeg says after decoding all of a file: its streams, length and number of frames."""
    code, messages = ffmpeg.run(["-loglevel", "level+info", "-i", ffmpeg.file_url(path), "-f", "null", "-"])
    assert code == 0, messages
    return messages


def make_image(path: Path, size: tuple[int, int] = (6, 8), value: int = 100) -> Path:
    """A flat gray picture; size: (height, width)."""
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)
    return path
