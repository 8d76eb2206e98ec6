"""The output folder of a run: claimed by one run at a time; the user's own files in it are never deleted."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ttt_cli.core.errors import TttvError, printable

LOCK = ".tttv.lock"
REPORT = "report.html"


class RunFolder:
    """The paths of a run's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.overlay = path / "overlay.mp4"
        self.masks = path / "masks"
        self.panoptic = path / "panoptic"
        self.kitti_step = path / "kitti_step"
        self.panoptic_json = path / "panoptic.json"
        self.instances = path / "instances.json"
        self.coco = path / "coco.json"
        self.frames = path / "frames.jsonl"
        self.metrics = path / "metrics.json"
        self.run = path / "run.json"
        self.report = path / REPORT

    def check(self, source: Path, overwrite: bool) -> None:
        """Raises TttvError if this run may not write to the folder. Nothing is created or changed.

        source: the input file or folder, which must not lie in this folder.
        """
        shown = printable(self.path)
        if self.path.exists() and not self.path.is_dir():
            raise TttvError(f"{shown}: is a file; name a folder with --out")
        if source.resolve().is_relative_to(self.path.resolve()):
            raise TttvError(f"{shown}: the input lies in the output folder; name another with --out")
        if not self._entries():
            return
        if not overwrite:
            raise TttvError(f"{shown}: exists and is not empty; add --overwrite, or name another folder with --out")
        if not self.run.is_file():
            raise TttvError(f"{shown}: is not a run folder (no run.json in it), so it is not overwritten; name another")

    def clear(self) -> None:
        """Deletes what an earlier run wrote here, and nothing else."""
        folders = (self.masks, self.panoptic, self.kitti_step)
        for name in _frame_names(self.frames):
            for folder in folders:
                (folder / f"{name}.png").unlink(missing_ok=True)
        for file in (self.overlay, *self._label_files(), self.frames, self.metrics, self.report, self.run):
            file.unlink(missing_ok=True)
        for folder in folders:
            with suppress(OSError):  # The folder stays if the user keeps something in it.
                folder.rmdir()

    def written(self) -> list[str]:
        """The names of the run's files and picture folders that exist."""
        folders = (self.masks, self.panoptic, self.kitti_step)
        files = (self.overlay, *folders, *self._label_files(), self.frames, self.metrics, self.run)
        return [file.name for file in files if file.exists()]

    def _label_files(self) -> tuple[Path, ...]:
        return self.panoptic_json, self.instances, self.coco

    def _entries(self) -> list[str]:
        if not self.path.is_dir():
            return []
        try:
            return [entry for entry in os.listdir(self.path) if entry != LOCK]
        except OSError as error:
            raise TttvError(f"{printable(self.path)}: cannot be read ({error.strerror})") from error


@contextmanager
def claimed(folder: RunFolder, source: Path, overwrite: bool) -> Iterator[None]:
    """Creates the folder, locks it and clears an earlier run from it. Raises TttvError if that is not possible."""
    folder.check(source, overwrite)
    with locked(folder.path):
        folder.check(source, overwrite)  # Another run may have written here before the lock was taken.
        folder.clear()
        yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Creates the folder `path` and locks it. Raises TttvError if it cannot be written or another run has locked it."""
    lock = path / LOCK
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    except OSError as error:
        raise TttvError(f"{printable(path)}: cannot be written ({error.strerror}); choose another --out") from error
    with file:
        if not _lock(file):
            raise TttvError(f"{printable(path)}: another run is writing here; wait for it or choose another --out")
        try:
            yield
        finally:
            with suppress(OSError):  # Windows cannot delete an open file, so an empty one is left there.
                lock.unlink()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON that any parser reads (no NaN), through a temporary file, so that the file is never incomplete."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(to_json(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def to_json(content: dict[str, Any], indent: int | None = None) -> str:
    """JSON text. NaN and infinite numbers become null; lone surrogates of undecodable file names are escaped."""
    return json.dumps(_finite(content), indent=indent, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _frame_names(log: Path) -> Iterator[str]:
    """The frame names in an earlier run's frames.jsonl. Damaged lines and names that are paths are skipped."""
    with suppress(OSError, UnicodeDecodeError), log.open(encoding="utf-8") as file:
        for line in file:
            with suppress(ValueError, KeyError, TypeError):
                name = json.loads(line)["name"]
                if isinstance(name, str) and Path(name).name == name:
                    yield name


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
