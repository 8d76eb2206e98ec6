"""Works on units in several processes on this machine, each of which takes the next one when it is free."""

from __future__ import annotations

import multiprocessing
import os
import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NamedTuple, TypeVar

import torch

ATTEMPTS = 3
"""How often a unit is tried whose process was killed."""

Unit = TypeVar("Unit", bound=Hashable)
Note = TypeVar("Note")
Result = TypeVar("Result")


class Work(ABC, Generic[Unit, Note, Result]):
    """What is done with each unit. It is sent to every process, and so are units; notes and results come back."""

    @abstractmethod
    def perform(self, unit: Unit, note: Callable[[Note], None]) -> Result:
        """The result, which errors and Ctrl-C become too. note: called on the way, tells the main process something."""

    @abstractmethod
    def lost(self, unit: Unit, reason: str | None) -> Result:
        """The result of a unit whose process ended by itself each time; `reason` says so in words.

        It is None if the process was told to break off before it could do so in good order.
        """

    @abstractmethod
    def is_interrupted(self, result: Result) -> bool:
        """Whether the unit was broken off because somebody wants to end all, so that no other is begun."""


class _Message(NamedTuple):
    is_result: bool
    """Else it is a note."""
    content: Any


@dataclass
class _Worker(Generic[Unit]):
    process: BaseProcess
    connection: Connection
    unit: Unit | None = None


def in_processes(
    units: Sequence[Unit],
    work: Work[Unit, Note, Result],
    workers: int,
    on_note: Callable[[Unit, Note], None] = lambda unit, note: None,
) -> Generator[tuple[Unit, Result], None, None]:
    """Yields units and their results as they come from `workers` processes, which share the processor's threads.

    A process that is killed is replaced, and its unit is tried again. When the caller is interrupted, or a result says
    so, the others are told to break off too, and their results are yielded. A generator that is closed early tells them
    the same, and drops their results: use it in `contextlib.closing`.
    """
    count = min(workers, len(units))
    threads = max(1, torch.get_num_threads() // max(1, count))
    waiting, attempts = deque(units), dict.fromkeys(units, 0)
    pool: list[_Worker[Unit]] = []
    is_interrupted = False
    try:
        while True:
            if not is_interrupted:
                pool += [_started(work, threads) for _ in range(min(len(waiting), count - len(pool)))]
                _hand_out(waiting, attempts, pool)
            busy = [worker for worker in pool if worker.unit is not None]
            if not busy:
                return
            try:
                ready = wait([worker.connection for worker in busy])
            except KeyboardInterrupt:
                is_interrupted = True
                _interrupt(busy)
                continue
            for worker in [worker for worker in busy if worker.connection in ready]:
                unit = worker.unit
                assert unit is not None
                message = _received(worker)
                if message is None:
                    pool.remove(worker)
                    if attempts[unit] < ATTEMPTS and not is_interrupted:
                        waiting.appendleft(unit)
                        continue
                    message = _Message(
                        True, work.lost(unit, None if is_interrupted else _death(worker, attempts[unit]))
                    )
                if not message.is_result:
                    on_note(unit, message.content)
                    continue
                worker.unit = None
                is_interrupted = is_interrupted or work.is_interrupted(message.content)
                yield unit, message.content
    finally:
        _interrupt([worker for worker in pool if worker.unit is not None])
        for worker in pool:
            worker.connection.close()  # Ends a worker that waits for a unit.
        for worker in pool:
            worker.process.join()


def _hand_out(waiting: deque[Unit], attempts: dict[Unit, int], pool: Sequence[_Worker[Unit]]) -> None:
    """Gives a unit to each worker that has none, as long as there are any."""
    for worker in pool:
        if worker.unit is None and waiting:
            worker.unit = waiting.popleft()
            attempts[worker.unit] += 1
            with suppress(OSError):  # It was killed while it waited, which is noticed when its result is read.
                worker.connection.send(worker.unit)


def _started(work: Work[Unit, Note, Result], threads: int) -> _Worker[Unit]:
    # A process that is forked from one in which torch has begun threads would hang.
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    process = processes.Process(target=_serve, args=(there, work, threads), name="tttv worker")
    process.start()
    there.close()
    return _Worker(process, here)


def _serve(connection: Connection, work: Work[Unit, Note, Result], threads: int) -> None:
    """In a process of its own: works on the units that come, until the connection is closed."""
    # Between units Ctrl-C, which the terminal sends to all processes, is the business of the main one alone.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(threads)

    def note(content: Note) -> None:
        # If the main process is gone, this raises BrokenPipeError, so that nothing goes on behind its back.
        connection.send(_Message(False, content))

    with suppress(EOFError, KeyboardInterrupt, OSError):
        while True:
            connection.send(_Message(True, work.perform(connection.recv(), note)))


def _received(worker: _Worker[Unit]) -> _Message | None:
    """What the worker says; None if it has died."""
    try:
        message: _Message = worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        return None
    return message


def _interrupt(busy: Sequence[_Worker[Unit]]) -> None:
    """Asks all workers to break off, also those that the terminal has not told of Ctrl-C."""
    for worker in busy:
        with suppress(ProcessLookupError):
            if worker.process.pid is not None:
                os.kill(worker.process.pid, signal.SIGTERM)


def _death(worker: _Worker[Unit], attempts: int) -> str:
    return (
        f"its process ended by itself {attempts} times, last with code {worker.process.exitcode}; memory may be short"
    )
