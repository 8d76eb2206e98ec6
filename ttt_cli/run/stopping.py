"""Ends a run between two frames when a signal asks for it, so that no file and no lock is left half done."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C; what `kill`, `docker stop` and batch systems send; and a terminal that is closed."""
PATIENCE_SECONDS = 1.0
"""A second signal within this time is taken for the first one once more."""
T = TypeVar("T")


class Stop:
    """Whether the run is asked to end."""

    def __init__(self) -> None:
        self.asked = False
        self._asked_at = 0.0
        self._in_frames = False

    def between(self, items: Iterable[T]) -> Iterator[T]:
        """Yields the items. Raises KeyboardInterrupt after one of them if the run is asked to end."""
        self._in_frames = True
        try:
            for item in items:
                yield item
                self.check()
        finally:
            self._in_frames = False

    def check(self) -> None:
        """Raises KeyboardInterrupt if the run is asked to end."""
        if self.asked:
            raise KeyboardInterrupt

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Notes the first signal. A later one breaks off a frame that takes long; files are finished all the same."""
        if not self.asked:
            self.asked, self._asked_at = True, time.monotonic()
        elif self._in_frames and time.monotonic() - self._asked_at > PATIENCE_SECONDS:
            raise KeyboardInterrupt


@contextmanager
def stopped_by_signals(stop: Stop) -> Iterator[None]:
    """A context in which signals that end the program only ask for it. In other threads than the main one: no change.

    What is ignored stays so: a script starts `command &` with SIGINT ignored, and nohup ignores SIGHUP.
    """
    names = SIGNALS if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    changed = [number for number in numbers if before[number] not in (signal.SIG_IGN, None)]
    for number in changed:
        signal.signal(number, stop.on_signal)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, before[number])
