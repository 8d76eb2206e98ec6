"""Something that is done again and again while something else goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """A context during which a thread calls `action` after every so many seconds. `action` must not raise."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=run, name=action.__name__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
