"""Writes an H.264 video that plays everywhere, with the sound of its source video."""

from __future__ import annotations

import errno
import logging
import os
import queue
import re
import subprocess
import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.video import ffmpeg

logger = logging.getLogger(__name__)

QUEUED_FRAMES = 4
PLAYABLE = ["-movflags", "+frag_keyframe+empty_moov+default_base_moof"]
"""Options with which a file plays up to where its writing has come, however it ends."""
COPIED_SOUND = frozenset({"aac", "mp3", "alac", "ac3", "eac3"})
"""Sound codecs that players expect in an mp4; all others are re-encoded as AAC."""


class VideoWriter:
    """Writes frames to an mp4 (H.264, yuv420p, BT.709), piece by piece, each with an ffmpeg process of its own.

    path: the file to write; an existing file is replaced, its folder must exist. fps: exact frames a second.
    size: (height, width) of the frames; H.264 needs even numbers, so the last row or column is repeated if odd.
    folder: where the pieces are written, on the same disk. They are files that play by themselves, and they stay there.
    piece_frames: frames in each; None is all in one. pieces: the names of those that an earlier writer has closed, from
    the first one on, of `piece_frames` each; this one goes on after them.
    audio_from: a video whose sound is kept, from `start_seconds` of it on and for as long as the picture lasts.

    Use it in a `with`. At its end the pieces are joined without being encoded again, and the whole is moved into place.
    If Ctrl-C or a TttvError, such as PartialInput, ends the block, what was written is joined and kept; any other
    exception leaves only the pieces. Raises TttvError, naming `path`, if it cannot be written. If the sound cannot be
    kept, the picture still is, and `audio_note` says why.
    """

    def __init__(
        self,
        path: Path,
        fps: Fraction,
        size: tuple[int, int],
        *,
        folder: Path,
        piece_frames: int | None = None,
        pieces: Sequence[str] = (),
        audio_from: Path | None = None,
        start_seconds: float = 0.0,
    ) -> None:
        self.audio_note: str | None = None
        self.pieces = list(pieces)
        self.frames_written = len(self.pieces) * (piece_frames or 0)
        self._path = path.absolute()
        self._fps, self._size = fps, size
        self._folder, self._piece_frames = folder.absolute(), piece_frames
        self._audio_from = audio_from
        self.start_seconds = start_seconds
        self._whole = self._folder / "whole.mp4"
        self._encoder: _Encoder | None = None

    def __enter__(self) -> VideoWriter:
        if self._path.exists() and not self._path.is_file():
            raise self._error("is not a regular file; write to another name")
        return self

    def write(self, image: np.ndarray) -> None:
        """Appends a frame: uint8 RGB (H, W, 3), not to be changed afterwards. Waits while the encoder is behind."""
        height, width = self._size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(f"a frame must be uint8 {(height, width, 3)}, not {image.dtype} {image.shape}")
        if self._encoder is None:
            self._encoder = self._next_piece()
        if self._encoder.failed:
            raise self._ffmpeg_failed(self._encoder.finish()[1])
        self._encoder.put(np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
        self.frames_written += 1
        if self._piece_frames is not None and self.frames_written % self._piece_frames == 0:
            self._close_piece()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None or (isinstance(error, (KeyboardInterrupt, TttvError)) and not self._failed):
                self._close_piece()
                if self.frames_written:
                    self._join()
        finally:
            if self._encoder is not None:
                self._encoder.kill()
            self._whole.unlink(missing_ok=True)

    @property
    def _failed(self) -> bool:
        return self._encoder is not None and self._encoder.failed

    def _next_piece(self) -> _Encoder:
        # A killed run may leave an ffmpeg behind that still writes a piece of this position, so the name is a new one.
        name = f"piece-{self.frames_written:06d}-{os.getpid()}.mp4"
        try:
            (self._folder / name).touch()
        except OSError as error:
            raise self._error(f"cannot be written ({error.strerror}); choose another folder") from error
        self.pieces.append(name)
        return _Encoder(self._folder / name, self._fps, self._size)

    def _close_piece(self) -> None:
        if self._encoder is None:
            return
        code, messages = self._encoder.finish()
        self._encoder = None
        if code != 0:
            raise self._ffmpeg_failed(messages)

    def _join(self) -> None:
        if self._audio_from is None or not self._joined_with_sound(self._audio_from):
            code, messages = ffmpeg.run(self._joining([], []))
            if code != 0:
                raise self._ffmpeg_failed(messages)
        try:
            os.replace(self._whole, self._path.resolve())
        except OSError as error:
            raise self._error(f"cannot be replaced ({error.strerror}); close it or choose another") from error

    def _joined_with_sound(self, source: Path) -> bool:
        """Joins pieces and sound. False if there is no sound or, with a note, if joining fails."""
        listing = ffmpeg.run(["-protocol_whitelist", "file", "-loglevel", "level+info", "-i", ffmpeg.file_url(source)])[
            1
        ]
        audio = re.search(r"Stream #0:\d+.*: Audio: (\w+)", listing)
        if audio is None:
            return False
        length = float(self.frames_written / self._fps)
        sound = ["-ss", f"{self.start_seconds:.6f}", "-t", f"{length:.6f}"]
        sound += ["-protocol_whitelist", "file", "-i", ffmpeg.file_url(source)]
        messages = ""
        for codec in ("copy", "aac") if audio[1] in COPIED_SOUND else ("aac",):
            code, messages = ffmpeg.run(self._joining(sound, ["-map", "1:a:0", "-c:a", codec]))
            if code == 0:
                return True
        self.audio_note = f"the sound was left out: {printable(ffmpeg.reason(messages))}"
        logger.warning("%s: %s", printable(self._path), self.audio_note)
        return False

    def _joining(self, more_input: list[str], more_output: list[str]) -> list[str]:
        listing = self._folder / "pieces.txt"
        listing.write_text("".join(f"file {name}\n" for name in self.pieces), encoding="utf-8")
        return [
            *["-loglevel", "level+error", "-f", "concat", "-safe", "0", "-protocol_whitelist", "file"],
            *["-i", ffmpeg.file_url(listing), *more_input, "-map", "0:v:0", "-c:v", "copy", *more_output],
            *["-movflags", "+faststart", "-f", "mp4", ffmpeg.file_url(self._whole)],
        ]

    def _ffmpeg_failed(self, messages: str) -> TttvError:
        if os.strerror(errno.ENOSPC) in messages:
            return self._error("cannot be written: the disk is full; make room, or write to another disk")
        return self._error(f"cannot be written ({printable(ffmpeg.reason(messages))})")

    def _error(self, cause: str) -> TttvError:
        return TttvError(f"{printable(self._path)}: {cause}")


class _Encoder:
    """The ffmpeg process, a thread that feeds it from a short queue, and a thread that reads its messages."""

    def __init__(self, path: Path, fps: Fraction, size: tuple[int, int]) -> None:
        height, width = (number + number % 2 for number in size)
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", str(fps), "-i", "pipe:0"]
        color = ["-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p", "-color_range", "tv"]
        color += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
        codec = ["-c:v", "libx264", "-crf", "18", "-preset", "veryfast", *PLAYABLE, "-f", "mp4"]
        self._process = ffmpeg.start(
            ["-loglevel", "level+error", *raw, *color, *codec, ffmpeg.file_url(path)], stdin=subprocess.PIPE
        )
        assert self._process.stdin is not None and self._process.stderr is not None
        self.failed = False
        self._messages: list[bytes] = []
        self._frames: queue.Queue[np.ndarray | None] = queue.Queue(QUEUED_FRAMES)
        self._feeder = threading.Thread(target=self._feed, args=(self._process.stdin,), name="encoder", daemon=True)
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr,), name="log", daemon=True)
        self._feeder.start()
        self._listener.start()

    def put(self, image: np.ndarray) -> None:
        """Queues a frame, uint8 (H, W, 3) with H and W even."""
        self._frames.put(image)

    def finish(self) -> tuple[int, str]:
        """Ends the file after the queued frames; returns ffmpeg's exit code and messages."""
        if self._feeder.is_alive():
            self._frames.put(None)
        self._feeder.join()
        self._listener.join()
        return self._process.wait(), b"".join(self._messages).decode("utf-8", "replace")

    def kill(self) -> None:
        """Kills ffmpeg and ends the threads; has no effect after `finish`."""
        self._process.kill()
        self.finish()

    def _feed(self, pipe: IO[bytes]) -> None:
        # After a failure frames are still taken from the queue, so that `put` never waits forever.
        while (image := self._frames.get()) is not None:
            if not self.failed:
                try:
                    pipe.write(np.ascontiguousarray(image).data.cast("B"))
                except OSError:
                    self.failed = True
        try:
            pipe.close()
        except OSError:
            self.failed = True

    def _listen(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                if len(self._messages) < 50:
                    self._messages.append(line)
