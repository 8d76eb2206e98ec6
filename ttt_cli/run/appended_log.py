"""Text files that get lines with each frame, and that a resumed run goes on writing."""

from __future__ import annotations

from pathlib import Path


class AppendedLog:
    """A text file of lines, in UTF-8. What it holds already stays, up to a later `cut`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab")

    def add(self, line: str) -> None:
        """Adds a line, given without its end. It is in the file at the next `flush` or `close`."""
        self._file.write(line.encode() + b"\n")

    def flush(self) -> None:
        """Writes what is waiting."""
        self._file.flush()

    @property
    def size(self) -> int:
        """In bytes, with what is waiting."""
        return self._file.tell()

    def cut(self, size: int) -> None:
        """Drops everything after the first `size` bytes."""
        self._file.truncate(size)
        self._file.seek(size)

    def close(self) -> None:
        """Ends the writing; may be called again."""
        self._file.close()
