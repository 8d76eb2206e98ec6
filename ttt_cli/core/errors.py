"""The errors that users see. Each is shown as one line and ends the program with its exit code."""

from __future__ import annotations

import re
from pathlib import PurePath

ADDRESS = re.compile(r"\b([a-z][a-z0-9+]+:/)(?=[^/])", re.IGNORECASE)
"""The beginning of an address, such as https://, of which a path keeps one slash."""


class TttvError(Exception):
    """The input or the run failed. The message is one line: the file, the cause, and what to do. Exit code 1."""

    exit_code = 1


class UsageError(TttvError):
    """An option has an invalid value. Exit code 2."""

    exit_code = 2


class AlreadyDone(TttvError):
    """The run to resume is finished. Exit code 0."""

    exit_code = 0


class LeasedElsewhere(TttvError):
    """A run on another machine writes to the folder, or did so when that machine was last seen. Exit code 1."""


class PartialInput(TttvError):
    """The input broke off after some readable frames, which are processed and kept. Exit code 3.

    frames_read: how many frames were read before the break. reason: the cause in a few words.
    """

    exit_code = 3

    def __init__(self, message: str, frames_read: int, reason: str) -> None:
        super().__init__(message)
        self.frames_read = frames_read
        self.reason = reason

    def __reduce__(self) -> tuple[type[PartialInput], tuple[str, int, str]]:
        # Processes send it to one another, which by itself would pass the message alone.
        return type(self), (str(self), self.frames_read, self.reason)


class PartialOutput(TttvError):
    """Files of a run were deleted while it ran; the others are whole. Exit code 3."""

    exit_code = 3


def printable(text: object) -> str:
    """`text` with every character that could control a terminal (escape, bell, bidi override ...) escaped.

    A path that was made of an address is shown as the address.
    """
    shown = ADDRESS.sub(r"\1/", str(text)) if isinstance(text, PurePath) else str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
