"""Reads a video file by decord, one frame after the other, where it is known to agree with ffmpeg.

decord decodes ahead of its reader without limit, whatever it is asked for: all frames of a video may lie in memory at
once, which is why only short videos are read so.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ttt_cli.core.errors import UsageError, printable
from ttt_cli.video.decoder import BrokeOff, DecodedFrame, decode
from ttt_cli.video.index import CONTAINERS, FILTERS
from ttt_cli.video.messages import TICKS
from ttt_cli.video.packets import DISCARDED, Damaged, packets
from ttt_cli.video.probe import Probe

MOST_MEBIBYTES = 1024
"""All frames of a video may take this much memory."""
SAME_SECONDS = 0.001
"""Time stamps that differ by no more are the same."""
SAME_PIXELS = 2.0
"""Pictures that differ by no more on average, out of 255, are the same; two that follow one another may differ less."""


class Refused(Exception):
    """decord does not read the file as ffmpeg does, or might not. The message says why."""


class Decord:
    """A video file that decord reads. Raises Refused, and UsageError if decord is not installed."""

    def __init__(self, path: Path, probed: Probe) -> None:
        try:
            import decord
        except ImportError as error:
            raise UsageError("the reader decord is not installed: python -m pip install decord2") from error
        self._decord = decord
        self._path = path
        self._shape = (*probed.size, 3)
        self._ticks = _listed(path, probed)
        mebibytes = len(self._ticks) * np.prod(self._shape) / 2**20
        if mebibytes > MOST_MEBIBYTES:
            raise Refused(f"it would hold {mebibytes:.0f} MiB of frames, more than {MOST_MEBIBYTES}")
        found = self._stamps()
        if len(found) != len(self._ticks):
            raise Refused(f"it finds {len(found)} frames, and ffmpeg {len(self._ticks)}")
        expected = (np.array(self._ticks) - self._ticks[0]) / TICKS
        if np.abs(found - found[0] - expected).max() > SAME_SECONDS:
            raise Refused("it reads other time stamps")
        if np.abs(self._first(self.frames()) - self._first(decode(path, probed))).mean() > SAME_PIXELS:
            raise Refused("its first frame is another one")

    def frames(self) -> Generator[DecodedFrame, None, None]:
        """Every frame. Raises BrokeOff if decord fails after the first."""
        reader = self._opened()
        for index, tick in enumerate(self._ticks):
            try:
                image = reader.next().asnumpy()
            except (self._decord.DECORDError, StopIteration) as error:
                raise BrokeOff(f"decord failed, ffmpeg may not: {_first_line(error)}") from error
            if image.shape != self._shape:
                raise BrokeOff(f"decord gave a frame of another shape, {image.shape}")
            yield DecodedFrame(index, tick / TICKS - self._ticks[0] / TICKS, partial(np.asarray, image))

    def _opened(self) -> Any:
        try:
            return self._decord.VideoReader(str(self._path), ctx=self._decord.cpu(0))
        except self._decord.DECORDError as error:
            raise Refused(_first_line(error)) from error

    def _first(self, frames: Generator[DecodedFrame, None, None]) -> np.ndarray:
        """The first of the frames, as int16."""
        try:
            with closing(frames):
                return next(frames).image().astype(np.int16)
        except (BrokeOff, StopIteration) as error:
            raise Refused(str(error) or "no frame comes") from error

    def _stamps(self) -> np.ndarray:
        reader = self._opened()
        return np.asarray(reader.get_frame_timestamp(range(len(reader))))[:, 0]


def _listed(path: Path, probed: Probe) -> list[int]:
    """The time stamps of all frames, in ticks. Raises Refused where they do not tell what is decoded."""
    container = probed.container.split(",")[0]
    if probed.codec not in FILTERS or container not in CONTAINERS:
        raise Refused(f"{probed.codec} in {container} is not what it was found to read right")
    try:
        with closing(packets(path, probed.stream, FILTERS[probed.codec][0])) as listed:
            found = list(listed)
    except Damaged as error:
        raise Refused("the file is damaged") from error
    if any(packet.flags & DISCARDED for packet in found):
        raise Refused("an edit list hides frames")
    ticks = sorted(packet.tick for packet in found)
    if not ticks or len(set(ticks)) < len(ticks) or ticks[0] != probed.first_tick:
        raise Refused("the time stamps are not in order")
    return ticks


def _first_line(error: Exception) -> str:
    return printable(str(error).partition("\n")[0])[:200]
