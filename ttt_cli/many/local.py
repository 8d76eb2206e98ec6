"""Makes runs on this machine: in this process, or in several others that each take the next unit when they are free."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from ttt_cli.many.units import Unit
from ttt_cli.many.work import Outcome, carry_out
from ttt_cli.run.request import RunRequest

ATTEMPTS = 3
"""How often a unit is tried whose process was killed; every time it goes on where it was."""


def in_this_process(units: Sequence[Unit], request: RunRequest) -> Iterator[Outcome]:
    """Yields the outcomes of the units, one after the other; an interrupted one is the last."""
    for unit in units:
        outcome = carry_out(unit, request)
        yield outcome
        if outcome.status == "interrupted":
            return


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    unit: Unit | None = None


def in_processes(units: Sequence[Unit], request: RunRequest, workers: int) -> Iterator[Outcome]:
    """Yields the outcomes of the units as they come from `workers` processes, which share the processor's threads.

    A process that is killed is replaced, and its unit goes on. When the caller is interrupted, the runs that are going
    on are finished as for Ctrl-C, and their outcomes are yielded.
    """
    threads = max(1, torch.get_num_threads() // workers)
    waiting, attempts = deque(units), dict.fromkeys(units, 0)
    pool = [_started(request, threads) for _ in range(min(workers, len(units)))]
    is_interrupted = False
    try:
        while True:
            for worker in pool:
                if worker.unit is None and waiting and not is_interrupted:
                    worker.unit = waiting.popleft()
                    attempts[worker.unit] += 1
                    worker.connection.send(worker.unit)
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
                unit, outcome = worker.unit, _received(worker)
                assert unit is not None
                if outcome is None:
                    pool[pool.index(worker)] = _started(request, threads)
                    if attempts[unit] < ATTEMPTS and not is_interrupted:
                        waiting.appendleft(unit)
                        continue
                    outcome = Outcome(
                        str(unit.source), str(unit.folder), "failed", reason=_death(worker, attempts[unit])
                    )
                worker.unit = None
                is_interrupted = is_interrupted or outcome.status == "interrupted"
                yield outcome
    finally:
        for worker in pool:
            worker.connection.close()  # Ends a worker that waits for a unit.
        for worker in pool:
            worker.process.join()


def _started(request: RunRequest, threads: int) -> _Worker:
    # A process that is forked from one in which torch has begun threads would hang.
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    process = processes.Process(target=_work, args=(there, request, threads), name="tttv worker")
    process.start()
    there.close()
    return _Worker(process, here)


def _work(connection: Connection, request: RunRequest, threads: int) -> None:
    """In a process of its own: makes the runs of the units that come, until the connection is closed."""
    # Between runs Ctrl-C, which the terminal sends to all processes, is the business of the main one alone.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(threads)
    with suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        while True:
            connection.send(carry_out(connection.recv(), request))


def _received(worker: _Worker) -> Outcome | None:
    """The outcome of the worker's unit; None if the worker has died."""
    try:
        outcome: Outcome = worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        return None
    return outcome


def _interrupt(busy: Sequence[_Worker]) -> None:
    """Asks all workers to end their runs, also those that the terminal has not told of Ctrl-C."""
    for worker in busy:
        with suppress(ProcessLookupError):
            if worker.process.pid is not None:
                os.kill(worker.process.pid, signal.SIGTERM)


def _death(worker: _Worker, attempts: int) -> str:
    return (
        f"its process ended by itself {attempts} times, last with code {worker.process.exitcode}; memory may be short"
    )
