"""Reads what ffmpeg says while it works: the time stamp of every frame, and its errors."""

from __future__ import annotations

import queue
import re
import subprocess
import threading
from collections.abc import Iterator
from typing import IO

from ttt_cli.core.errors import printable
from ttt_cli.video import ffmpeg

TICKS = 90000
"""Units per second of the time stamps that ffmpeg reports."""
NO_STAMP = -(2**62)
"""ffmpeg reports a value below this if a frame has no time stamp."""
ERRORS_KEPT = 3
LINES_KEPT = 200
PATIENCE_SECONDS = 10.0


class Stuck(Exception):
    """ffmpeg hands over a frame that nobody takes."""


def reporting_stamps(name: str, pipe: str = "pipe:2") -> list[str]:
    """Arguments of an output: its frames' time stamps go to the message pipe, as `<NAME TICKS>`.

    ffmpeg writes each in one write, before it writes the frame. If two outputs do, their names of the pipe must differ,
    such as `pipe:2` and `pipe:02`: under one name they would share a buffer, which ffmpeg does not lock.
    """
    pattern = f"<{name} {{pts}}>"
    return ["-enc_time_base", f"1:{TICKS}", "-stats_enc_pre", pipe, "-stats_enc_pre_fmt", pattern]


def stamps_in(text: str, name: str) -> list[int | None]:
    """The time stamps of that name in a message, in ticks; None for a frame without one."""
    found = (int(stamp) for stamp in re.findall(rf"<{name} (-?\d+)>", text))
    return [stamp if stamp > NO_STAMP else None for stamp in found]


class Messages:
    """Reads the messages of a process in a thread, which ends with the process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self.errors: list[str] = []
        """The first errors, without control characters."""
        self.lines: list[str] = []
        """The first lines."""
        self._decoded, self._sent = _Stamps(), _Stamps()
        self.thread = threading.Thread(target=self._read, args=(process.stderr,), name="ffmpeg messages", daemon=True)
        self.thread.start()

    def decoded(self) -> Iterator[int | None]:
        """The stamps called `decoded`, in ticks, as they come, until the process ends.

        Raises Stuck if the process waits for a frame to be taken whose stamp is not yielded.
        """
        while True:
            try:
                stamp = self._decoded.get(timeout=PATIENCE_SECONDS)
            except queue.Empty:
                if not self._sent.empty():
                    raise Stuck from None
                continue
            if isinstance(stamp, _End):
                return
            yield stamp

    def next_sent(self) -> int | None:
        """The next of the stamps called `sent`, in ticks; None if the frame has none."""
        try:
            stamp = self._sent.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            return None
        return None if isinstance(stamp, _End) else stamp

    def _read(self, pipe: IO[bytes]) -> None:
        for raw in pipe:
            line = raw.decode("utf-8", "replace")
            for stamp in stamps_in(line, "decoded"):
                self._decoded.put(stamp)
            for stamp in stamps_in(line, "sent"):
                self._sent.put(stamp)
            if len(self.lines) < LINES_KEPT:
                self.lines.append(line)
            if ("[error]" in line or "[fatal]" in line) and len(self.errors) < ERRORS_KEPT:
                self.errors.append(printable(ffmpeg.reason(line)))
        self._decoded.put(_End())
        self._sent.put(_End())


class _End:
    """No more stamps come."""


_Stamps = queue.SimpleQueue["int | None | _End"]
