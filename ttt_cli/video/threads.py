"""Works ahead in a thread: decodes the next frames while the model is busy with the current one."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

SECONDS_BETWEEN_CHECKS = 0.2
T = TypeVar("T")


@dataclass
class Stopwatch:
    """How long the source took to make the items yielded so far."""

    total_seconds: float = 0.0
    """For all items."""
    last_seconds: float = 0.0
    """For the latest item."""


@dataclass(frozen=True)
class _Made(Generic[T]):
    item: T
    seconds: float


@dataclass(frozen=True)
class _Ended:
    error: BaseException | None


def prefetch(
    items: Iterable[T],
    depth: int,
    stopwatch: Stopwatch | None = None,
    check: Callable[[], None] = lambda: None,
    interrupt: Callable[[], None] = lambda: None,
) -> Generator[T, None, None]:
    """Yields `items` in order while a thread makes up to `depth` (>= 1) of them ahead.

    An exception in the source is raised here after the items before it. The thread closes the source and ends before
    this generator does: at its end, on an exception, and on `close()`. `stopwatch` is updated with every item.
    While the source is waited for, `check` is called now and then, and an exception that it raises ends the waiting.
    `interrupt` is called before the thread is waited for: it makes a source end that waits for its next item.
    """
    made: queue.Queue[_Made[T] | _Ended] = queue.Queue(depth)
    stop = threading.Event()
    thread = threading.Thread(target=_produce, args=(iter(items), made, stop), name="prefetch", daemon=True)
    thread.start()
    try:
        while isinstance(entry := _next(made, check), _Made):
            if stopwatch is not None:
                stopwatch.last_seconds = entry.seconds
                stopwatch.total_seconds += entry.seconds
            yield entry.item
        if entry.error is not None:
            raise entry.error
    finally:
        stop.set()
        interrupt()
        while thread.is_alive():  # It may be waiting for room in the queue: make room until it sees `stop`.
            _drain(made)
            thread.join(0.01)


def _produce(items: Iterator[T], made: queue.Queue[_Made[T] | _Ended], stop: threading.Event) -> None:
    error: BaseException | None = None
    try:
        while not stop.is_set():
            started = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                break
            made.put(_Made(item, time.perf_counter() - started))
    except BaseException as caught:  # Any exception is passed on to the consumer's thread.
        error = caught
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
        made.put(_Ended(error))


def _next(made: queue.Queue[_Made[T] | _Ended], check: Callable[[], None]) -> _Made[T] | _Ended:
    while True:
        try:
            return made.get(timeout=SECONDS_BETWEEN_CHECKS)
        except queue.Empty:
            check()


def _drain(made: queue.Queue[_Made[T] | _Ended]) -> None:
    try:
        while True:
            made.get_nowait()
    except queue.Empty:
        pass
