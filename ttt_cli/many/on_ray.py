"""Makes runs as tasks of a Ray cluster, whose machines see the inputs and the output folder under the same paths."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence

from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.many.units import Unit
from ttt_cli.many.work import Outcome, carry_out
from ttt_cli.run.request import RunRequest

AUTO = "auto"
"""The address of a cluster that runs on this machine, or that RAY_ADDRESS names."""
PATIENCE_SECONDS = 30
RETRIES = 10
"""How often a task is begun again on another machine when its own is gone; it goes on where it was."""


def on_ray(units: Sequence[Unit], request: RunRequest, address: str, cores: int) -> Iterator[Outcome]:
    """Yields the outcomes of the units as they come from a cluster. cores: that each task asks for.

    Raises UsageError if Ray is not installed, TttvError if no cluster answers within 30 seconds.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError('--ray needs Ray: python -m pip install "tttv[ray]"') from error
    _check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise TttvError(
            f"{printable(address)}: no Ray cluster answers there ({error}); start one by: ray start"
        ) from error
    try:
        cards = 1 if request.device.type == "cuda" else 0
        task = ray.remote(num_cpus=cores, num_gpus=cards, max_retries=RETRIES)(_carry_out)
        shared = ray.put(request)
        waiting = {task.remote(unit, shared, cores): unit for unit in units}
        while waiting:
            done, _ = ray.wait(list(waiting))
            for reference in done:
                yield _outcome(reference, waiting.pop(reference))
    finally:
        ray.shutdown()


def _carry_out(unit: Unit, request: RunRequest, cores: int) -> Outcome:
    import torch

    torch.set_num_threads(cores)
    return carry_out(unit, request)


def _outcome(reference: object, unit: Unit) -> Outcome:
    import ray

    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = f"its task was lost {RETRIES + 1} times ({type(error).__name__})"
        return Outcome(str(unit.source), str(unit.folder), "failed", reason=reason)
    return outcome


def _check_answers(address: str) -> None:
    """Tries to reach the cluster, since Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address == AUTO:
        return
    if not (colon and port.isdecimal()):
        raise UsageError(f"--ray must be {AUTO} or HOST:PORT, not {printable(address)!r}")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS).close()
    except OSError as error:
        raise TttvError(
            f"{printable(address)}: no Ray cluster answers there ({error}); start one by: ray start"
        ) from error
