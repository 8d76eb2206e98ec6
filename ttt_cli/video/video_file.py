"""Opens and reads a video file."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from ttt_cli.core.errors import printable
from ttt_cli.core.frame import Frame, Reading, Video
from ttt_cli.video.by_decord import Decord, Refused
from ttt_cli.video.decoder import BrokeOff, DecodedFrame, SkippedWrongly, Skips, decode
from ttt_cli.video.ffmpeg import check_hwaccel
from ttt_cli.video.index import find
from ttt_cli.video.probe import Probe, probe
from ttt_cli.video.selection import Candidate, Selection, check_start, walk
from ttt_cli.video.settings import Reader

logger = logging.getLogger(__name__)


def open_file(path: Path, wanted: Selection, reader: Reader, hwaccel: str | None) -> Video:
    """The selected frames of a video file.

    reader, hwaccel: as in InputSettings. Where they do not work, ffmpeg reads, and the CPU decodes; the notes say so.
    """
    probed, notes = probe(path), []
    if probed.seconds is not None:
        check_start(path, wanted, probed.seconds)
    if hwaccel is not None:
        probed, failure = _accelerated(path, probed, hwaccel)
        notes += [] if failure is None else [f"the CPU decodes, since hwaccel {hwaccel} does not work: {failure}"]
    frames = Reading(lambda skipped: _read(path, probed, wanted, skipped))
    if reader == "decord":
        try:
            decord = Decord(path, probed)
            frames = Reading(lambda skipped: walk(path, _named(decord.frames()), wanted, skipped))
        except Refused as refusal:
            reader = "ffmpeg"
            notes.append(f"ffmpeg reads, since decord may not: {refusal}")
    for note in notes:
        logger.warning("%s: %s", printable(path), note)
    expected = None if probed.seconds is None else max(1, round(probed.seconds * probed.fps))
    return Video(
        name=path.stem,
        path=path,
        fps=probed.fps / wanted.stride,
        size=probed.size,
        length=None if expected is None else wanted.length(expected, probed.fps),
        frames=frames,
        reader=reader,
        notes=tuple(notes),
    )


def _accelerated(path: Path, probed: Probe, hwaccel: str) -> tuple[Probe, str | None]:
    """The probe with `hwaccel`, or as it is with why that does not work. Raises UsageError if ffmpeg has none."""
    check_hwaccel(hwaccel)
    accelerated = dataclasses.replace(probed, hwaccel=hwaccel)
    try:
        with closing(decode(path, accelerated)) as frames:
            return (probed, "no frame came") if next(frames, None) is None else (accelerated, None)
    except BrokeOff as error:
        return probed, str(error)


def _named(frames: Generator[DecodedFrame, None, None]) -> Generator[Candidate, None, None]:
    with closing(frames):
        for frame in frames:
            yield Candidate(frame.index, f"{frame.index:06d}", frame.seconds, frame.image)


def _read(path: Path, probed: Probe, wanted: Selection, skipped: int) -> Iterator[Frame]:
    """The selected frames of a video file without the first `skipped`. Where that is exact, it decodes less."""
    left_out = skipped * wanted.stride
    if probed.first_tick is None or not (wanted.start or left_out):
        return walk(path, _File(path, probed, Skips(stride=wanted.stride)).candidates(), wanted, skipped)
    start_tick = wanted.from_tick(probed.first_tick)
    found = find(path, probed, start_tick, left_out)
    if found is None:
        skips = Skips(start_tick if wanted.start else None, left_out, wanted.stride)
        return walk(path, _File(path, probed, skips).candidates(), wanted, skipped)
    skips = Skips(found.tick, 0, wanted.stride, found.entry)
    return walk(path, _File(path, probed, skips).candidates(), wanted, skipped, found.first)


class _File:
    """The frames of a video file. If ffmpeg left out the wrong ones, it is asked for all of them."""

    def __init__(self, path: Path, probed: Probe, skips: Skips) -> None:
        self._path, self._probed = path, probed
        self._frames = decode(path, probed, skips)
        self._next = 0

    def candidates(self) -> Generator[Candidate, None, None]:
        """Each frame, some without pixels. Raises BrokeOff if the file is cut off or damaged."""
        try:
            while (frame := self._next_frame()) is not None:
                self._next = frame.index + 1
                yield Candidate(frame.index, f"{frame.index:06d}", frame.seconds, partial(self._image, frame))
        finally:
            self._frames.close()

    def _next_frame(self) -> DecodedFrame | None:
        try:
            return next(self._frames, None)
        except SkippedWrongly:
            return self._from_beginning(self._next)

    def _image(self, frame: DecodedFrame) -> np.ndarray:
        try:
            return frame.image()
        except SkippedWrongly:
            again = self._from_beginning(frame.index)
            if again is None:
                raise BrokeOff("it has fewer frames than its container lists") from None
            return again.image()

    def _from_beginning(self, index: int) -> DecodedFrame | None:
        """The frame of this index, of all frames that ffmpeg decodes; None if there are not so many."""
        logger.info("%s: is read from its beginning", printable(self._path))
        self._frames.close()
        self._frames = decode(self._path, self._probed)
        return next(islice(self._frames, index, None), None)
