"""Ordinary pictures to prepare a model on: from folders, globs and videos, spread evenly over each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.video import images
from ttt_cli.video.reader import open_video

FEWEST = 8
"""From fewer pictures, a spread means nothing."""


def ordinary_pictures(sources: Sequence[str], count: int) -> list[Tensor]:
    """At most about `count` pictures, uint8 RGB (3, H, W), as many from each source if it has them.

    Pictures of a folder or glob may differ in size. Raises what `open_video` and `images.read` raise, and TttvError if
    there are fewer than FEWEST.
    """
    share = max(1, count // len(sources))
    found = [picture for source in sources for picture in _from(source, share)]
    if len(found) < FEWEST:
        names = ", ".join(map(printable, sources))
        raise TttvError(f"{names}: {len(found)} pictures in all, at least {FEWEST} are needed; name more with --images")
    return found


def _from(source: str, count: int) -> list[Tensor]:
    if Path(source).is_file() and not images.is_image(Path(source)):
        video = open_video(source)
        stride = max(1, (video.length or count) // count)
        return [frame.image for frame in open_video(source, stride=stride, max_frames=count).frames()]
    paths = images.in_folder(Path(source)) if Path(source).is_dir() else images.in_glob(source)
    chosen = [paths[round(position)] for position in _spread(len(paths), count)]
    return [torch.from_numpy(images.read(path)).permute(2, 0, 1).contiguous() for path in chosen]


def _spread(length: int, count: int) -> list[float]:
    """Positions spread evenly over a sequence: all of them if it is short."""
    taken = min(length, count)
    return [number * (length - 1) / max(1, taken - 1) for number in range(taken)]
