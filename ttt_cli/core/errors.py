"""The errors that a user can cause or meet. Each is shown as one line and ends the program with its exit code."""

from __future__ import annotations


class TttvError(Exception):
    """The input or the run failed: one line that names the file, the cause and what to do. Exit code 1."""

    exit_code = 1


class UsageError(TttvError):
    """An option has a value that it cannot have. Exit code 2."""

    exit_code = 2


class PartialInput(TttvError):
    """The input broke off after some readable frames, which are kept and finished. Exit code 3.

    `frames_read` is how many frames came out before the break; `reason` is the cause in a few words.
    """

    exit_code = 3

    def __init__(self, message: str, frames_read: int, reason: str) -> None:
        super().__init__(message)
        self.frames_read = frames_read
        self.reason = reason


def printable(text: object) -> str:
    """`text` with every character that could steer a terminal (escape, bell, bidi override ...) shown as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
