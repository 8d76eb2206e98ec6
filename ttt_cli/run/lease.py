"""Keeps runs on different machines, which share a folder, from writing to the same run folder.

Locks of the system do not reach other machines on every file system. So the file that is locked also says whose it is,
and its time of change says that its owner is still there.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ttt_cli.core.repeated import repeated

SECONDS_BETWEEN_RENEWALS = 20.0
SECONDS_UNTIL_STALE = 120.0
"""A lease that is not renewed for so long is that of a machine that is gone."""


def other_holder(lease: Path) -> str | None:
    """The name of the other machine that holds the lease; None if none does."""
    try:
        host = json.loads(lease.read_text(encoding="utf-8"))["host"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if host == socket.gethostname() or _age_seconds(lease) > SECONDS_UNTIL_STALE:
        return None
    return str(host)


@contextmanager
def leased(lease: Path) -> Iterator[None]:
    """Holds the lease, an existing file, and renews it in a thread."""
    lease.write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid()}), encoding="utf-8")

    def renew() -> None:
        with suppress(OSError):
            os.utime(lease)

    with repeated(renew, SECONDS_BETWEEN_RENEWALS):
        yield


def _age_seconds(lease: Path) -> float:
    """How long ago the lease was renewed, by the clock of the file system, which may not be that of this machine."""
    now = lease.with_name(f"{lease.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        now.touch()
        return now.stat().st_mtime - lease.stat().st_mtime
    finally:
        now.unlink(missing_ok=True)
