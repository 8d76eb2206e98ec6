"""Whether the frames and labels of an evaluation are still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ttt_cli.core.checksum import sha256
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.datasets.stream import Stream

ENDS = 1 << 20
"""Bytes of either end of a file that a quick fingerprint is of."""


def fingerprint(streams: Iterable[Stream]) -> str:
    """A checksum, in hexadecimal, of names, sizes and times of change of all frames, and of the content of all labels.

    Raises TttvError if a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for stream in streams:
            digest.update(f"{stream.name!r}\n".encode())
            for path in _files(stream.video.path):
                status = path.stat()
                digest.update(f"{path.name!r} {status.st_size} {status.st_mtime_ns}\n".encode())
            for path in (file for given in stream.label_files for file in _files(given)):
                digest.update(f"{path.name!r} {sha256(path)}\n".encode())
    except OSError as error:
        raise TttvError(f"{printable(error.filename)}: cannot be read ({error.strerror}); check --gt") from error
    return digest.hexdigest()


def quick_fingerprint(path: Path | None) -> str:
    """A checksum, in hexadecimal, of the names, sizes and times of change of a file or of the files in a folder.

    Of None it is always the same. Also of the content of a single file's beginning and end.
    Raises TttvError if it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for file in _files(path):
            status = file.stat()
            digest.update(f"{file.name!r} {status.st_size} {status.st_mtime_ns}\n".encode())
        if path is not None and path.is_file():
            with path.open("rb") as content:
                digest.update(content.read(ENDS))
                content.seek(max(0, path.stat().st_size - ENDS))
                digest.update(content.read(ENDS))
    except OSError as error:
        raise TttvError(f"{printable(path)}: cannot be read ({error.strerror}); check its permissions") from error
    return digest.hexdigest()


def _files(path: Path | None) -> Iterator[Path]:
    """The file, or the files in the folder, sorted by name; nothing if there is neither."""
    if path is None:
        return
    if path.is_dir():
        yield from sorted(entry for entry in path.iterdir() if entry.is_file())
    elif path.is_file():
        yield path
