"""Reads live input: a pipe, a stream from the network, or a camera. It comes once, and may stop at any time."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from ttt_cli.core.choices import choices
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.frame import Frame, Video
from ttt_cli.video import ffmpeg
from ttt_cli.video.decoder import BrokeOff, Clock, read_image
from ttt_cli.video.messages import Messages, reporting_stamps
from ttt_cli.video.probe import DEFAULT_RATE, size_of_output, stream_chosen
from ttt_cli.video.selection import Candidate, Selection, walk
from ttt_cli.video.settings import InputSettings

PROTOCOLS = {
    "http": "http,https,tcp,tls,crypto",
    "https": "http,https,tcp,tls,crypto",
    "rtsp": "rtp,udp,tcp,tls",
}
"""By scheme of an address, what ffmpeg may open for it: never a file."""
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}
"""By system, the format in which ffmpeg reads cameras, and what it calls one."""
FRAMES_KEPT = 4
"""The first frames can be read again, which a trial of the model on the first frame needs."""


@dataclass(frozen=True)
class LiveSource:
    """Where live input comes from."""

    name: str
    """A short title, which can be part of a file's name."""
    shown: str
    """What to call it in messages and on records, without passwords."""
    arguments: tuple[str, ...]
    """Of ffmpeg, for its input."""
    is_pipe: bool = False
    """Whether it comes from this program's standard input."""


def live_source(text: str) -> LiveSource | None:
    """What `-`, `camera:0` or an address means on the command line; None for a file, also for one of such a name.

    Raises UsageError if no camera is named, if standard input is a terminal, and for addresses that are not read.
    """
    if text == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("- reads a video from a pipe, but nothing is piped in; name a file")
        return LiveSource("stdin", "standard input", ("-protocol_whitelist", "pipe", "-i", "pipe:0"), is_pipe=True)
    scheme, colon, rest = text.partition(":")
    if not colon or "\0" in text or Path(text).exists():
        return None
    if scheme == "camera":
        return _camera(rest)
    if not rest.startswith("//"):
        return None
    if scheme.lower() not in PROTOCOLS:
        known = choices(scheme, PROTOCOLS)
        raise UsageError(f"{printable(scheme)}:// is no address that is read; {known}; or download the file first")
    return _address(f"{scheme.lower()}:{rest}", scheme.lower())


def _camera(which: str) -> LiveSource:
    if not which:
        raise UsageError("say which camera: camera:0 is the first; on Windows camera:NAME")
    format_name, pattern = CAMERAS.get(sys.platform, CAMERAS["linux"])
    arguments = ("-f", format_name, "-i", pattern.format(which))
    return LiveSource(f"camera-{_as_name(which)}", f"camera:{which}", arguments)


def _address(text: str, scheme: str) -> LiveSource:
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise UsageError(f"{printable(text.partition('@')[2] or text)}: is no address ({error})") from error
    # Users, passwords and tokens must not end up in messages and files.
    shown = f"{scheme}://{host}{port}{parts.path}"
    arguments = ("-protocol_whitelist", PROTOCOLS[scheme], *(("-rtsp_transport", "tcp") if scheme == "rtsp" else ()))
    return LiveSource(_as_name(Path(parts.path).stem or host), shown, (*arguments, "-i", text))


def _as_name(text: str) -> str:
    return re.sub(r"[^\w-]+", "-", text).strip("-") or "live"


def open_live(source: LiveSource, wanted: Selection, settings: InputSettings) -> Video:
    """The selected frames of live input, of which the first has come. They can be iterated over only once.

    Raises TttvError if no frame comes, and UsageError for settings of pictures. Iterating raises PartialInput if the
    input breaks off, or sends nothing for `settings.timeout` seconds.
    """
    if settings.fps is not None:
        raise UsageError(f"{printable(source.shown)}: fps is for folders of images; live input has its own")
    stream = _Stream(source, settings)
    notes = ("ffmpeg reads, since decord reads files only",) if settings.reader == "decord" else ()

    def frames() -> Iterator[Frame]:
        return walk(printable(source.shown), stream.candidates(), wanted, 0)

    return Video(
        name=source.name,
        path=None,
        fps=stream.fps / wanted.stride,
        size=stream.size,
        length=None,
        frames=frames,
        reader="ffmpeg",
        notes=notes,
        live=source.shown,
        interrupt=stream.interrupt,
    )


class _Stream:
    """The process that decodes live input. It ends with this object at the latest."""

    def __init__(self, source: LiveSource, settings: InputSettings) -> None:
        arguments = ["-loglevel", "level+info", "-nostats"]
        if settings.hwaccel is not None:
            ffmpeg.check_hwaccel(settings.hwaccel)
            arguments += ["-hwaccel", settings.hwaccel]
        # If the size changes midway, ffmpeg scales to the first size.
        arguments += [*source.arguments, "-an", "-sn", "-dn", "-fps_mode", "passthrough", *reporting_stamps("sent")]
        arguments += ["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
        stdin = sys.stdin.fileno() if source.is_pipe else subprocess.DEVNULL
        self._source, self._timeout = source, settings.timeout
        self._process = ffmpeg.start(arguments, stdin=stdin, stdout=subprocess.PIPE)
        weakref.finalize(self, self._process.kill)
        self._messages = Messages(self._process)
        self._deadline = _Deadline(self._process)
        self._interrupted = False
        self._kept: list[Candidate] = []
        self._taken = 0
        self.size = self._first_size()
        self.fps = self._rate()
        self._clock = Clock(1 / float(self.fps))
        if self._next() is None:
            raise self._no_frame()

    def interrupt(self) -> None:
        """Ends the stream, also while another thread waits for its next frame."""
        self._interrupted = True
        self._process.kill()

    def candidates(self) -> Generator[Candidate, None, None]:
        """Every frame. Raises BrokeOff if the input breaks off, and TttvError if its beginning is gone."""
        if self._taken > FRAMES_KEPT:
            raise TttvError(f"{printable(self._source.shown)}: comes only once and is asked for twice; save it first")
        yield from tuple(self._kept)
        try:
            while (candidate := self._next()) is not None:
                yield candidate
            self._check_end()
        finally:
            if self._taken > FRAMES_KEPT:
                self._process.kill()

    def _next(self) -> Candidate | None:
        with self._deadline.after(self._timeout):
            image = read_image(self._process, *self.size)
        if image is None:
            return None
        index, stamp = self._taken, self._messages.next_sent()
        candidate = Candidate(index, f"{index:06d}", self._clock.tick(stamp), partial(np.asarray, image))
        self._taken += 1
        self._kept = [*self._kept, candidate] if self._taken <= FRAMES_KEPT else []
        return candidate

    def _check_end(self) -> None:
        """Raises BrokeOff unless the input came to its end or was interrupted."""
        if self._deadline.missed:
            raise BrokeOff(f"nothing came for {self._timeout:g} s")
        code = self._process.wait()
        self._messages.thread.join()
        cut_off = [error for error in self._messages.errors if "prematurely" in error]
        if not self._interrupted and (code != 0 or cut_off):
            raise BrokeOff(cut_off[0] if cut_off else self._reason() or f"ffmpeg ended with code {code}")

    def _first_size(self) -> tuple[int, int]:
        """(height, width), as soon as ffmpeg says it."""
        with self._deadline.after(self._timeout):
            while (size := size_of_output("".join(self._messages.lines))) is None:
                if not self._messages.thread.is_alive():
                    raise self._no_frame()
                time.sleep(0.02)
        return size

    def _rate(self) -> Fraction:
        """Frames a second, on average, as ffmpeg guesses after a moment."""
        _, stream = stream_chosen(self._messages.lines)
        stated = re.search(r", ([\d.]+) fps", stream) or re.search(r", ([\d.]+) tbr", stream)
        rate = Fraction(stated[1]).limit_denominator(1001) if stated else DEFAULT_RATE
        return rate or DEFAULT_RATE

    def _no_frame(self) -> TttvError:
        self._process.kill()
        self._messages.thread.join()
        shown = printable(self._source.shown)
        if self._deadline.missed:
            return TttvError(f"{shown}: no frame came in {self._timeout:g} s; check the source, or raise --timeout")
        hint = "pipe a format that needs no seeking, such as mkv or ts" if self._source.is_pipe else "check the source"
        return TttvError(f"{shown}: no frame came ({self._reason() or 'it is empty'}); {hint}")

    def _reason(self) -> str:
        """The first error, without the address, which may hold a password."""
        error = self._messages.errors[0] if self._messages.errors else ""
        return error.replace(printable(self._source.arguments[-1]), printable(self._source.shown))


class _Deadline:
    """Kills a process that lets its reader wait too long."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.missed = False
        self._process = process
        self._moment: float | None = None
        threading.Thread(target=self._watch, name="deadline", daemon=True).start()

    @contextmanager
    def after(self, seconds: float) -> Iterator[None]:
        """Within this context the process must not let wait longer."""
        self._moment = time.monotonic() + seconds
        try:
            yield
        finally:
            self._moment = None

    def _watch(self) -> None:
        while self._process.poll() is None:
            moment = self._moment
            if moment is not None and time.monotonic() > moment:
                self.missed = True
                self._process.kill()
            time.sleep(0.1)
