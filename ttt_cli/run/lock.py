"""Keeps two runs from writing to the same folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ttt_cli.core.errors import LeasedElsewhere, TttvError, printable
from ttt_cli.run.lease import leased, other_holder

LOCK = ".tttv.lock"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Creates the folder `path` and locks it. Raises TttvError if it cannot be written or another run has locked it.

    On one machine the lock is the system's; among machines that share the folder it is a lease (run/lease.py).
    """
    lock = path / LOCK
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    except OSError as error:
        raise TttvError(f"{printable(path)}: cannot be written ({error.strerror}); choose another --out") from error
    with file:
        if not _lock(file):
            raise TttvError(f"{printable(path)}: another run is writing here; wait for it or choose another --out")
        host = other_holder(lock)
        if host is not None:
            raise LeasedElsewhere(f"{printable(path)}: a run on {printable(host)} is writing here; wait for it")
        try:
            with leased(lock):
                yield
        finally:
            with suppress(OSError):  # Windows cannot delete an open file, so an empty one is left there.
                lock.unlink()


def is_locked(path: Path) -> bool:
    """Whether a run is writing in the folder now."""
    try:
        with (path / LOCK).open("r+") as file:
            return not _lock(file) or other_holder(path / LOCK) is not None
    except OSError:
        return False


def _lock(file: IO[str]) -> bool:
    """Takes the lock; False if another process holds it. The system releases it even if this program is killed."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
