"""Files that are written beside their place, and put there once they are whole."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ttt_cli.core.errors import TttvError, printable


@contextmanager
def replacing(path: Path, remedy: str = "choose another place") -> Iterator[Path]:
    """A free path to write a file or folder to, which afterwards takes the place of what is at `path`.

    If anything fails, `path` is as it was, and nothing else is left. Raises TttvError if a file cannot be written.
    remedy: for the error message.
    """
    try:
        # In a folder of its own: any name beside `path` could be that of a file of the user's.
        with tempfile.TemporaryDirectory(prefix=".tttv-", dir=path.parent, ignore_cleanup_errors=True) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            if temporary.is_dir() and path.is_dir():
                shutil.rmtree(path)
            temporary.replace(path)
    except OSError as error:
        raise TttvError(f"{printable(path)}: cannot be written ({error.strerror or error}); {remedy}") from error
