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
REPORT_MARK = b"<title>tttv report</title>"
"""Near the beginning of every report."""
OWNER = "tttv"
"""The key by which a record says that it is ours, and of what: `"tttv": "run"`."""
KEYS_OF_0_1 = frozenset(
    {
        *("input", "video", "settings", "weights", "device", "machine", "versions", "started", "status", "reason"),
        *("frames", "skipped_steps", "first_loss", "last_loss", "audio_note", "cuts", "warnings", "seconds", "files"),
    }
)
"""What every run.json of tttv 0.1 has, which does not say whose it is."""


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

    def check(self, source: Path | None, overwrite: bool) -> None:
        """Raises TttvError if this run may not write to the folder. Nothing is created or changed.

        source: the input file or folder, which must not lie in this folder; None for live input.
        """
        shown = printable(self.path)
        if self.path.exists() and not self.path.is_dir():
            raise TttvError(f"{shown}: is a file; name a folder with --out")
        if source is not None and source.resolve().is_relative_to(self.path.resolve()):
            raise TttvError(f"{shown}: the input lies in the output folder; name another with --out")
        if not self._entries():
            return
        if not overwrite:
            raise TttvError(f"{shown}: exists and is not empty; add --overwrite, or name another folder with --out")
        files = self._recorded()
        if files is None:
            raise TttvError(
                f"{shown}: is not a run folder (no run.json of tttv in it), so it is not overwritten; name another"
            )
        for path in (*self._files(), *self._picture_folders()):
            if path.is_symlink() or (path.exists() and path.name not in files):
                raise TttvError(
                    f"{printable(path)}: is not on the record of the run in this folder (files in run.json), so it is "
                    "not overwritten; move it away, or name another folder with --out"
                )

    def clear(self) -> None:
        """Deletes what an earlier run wrote here, and nothing else: `check` has found nothing else of these names."""
        for name in _frame_names(self.frames):
            for folder in self._picture_folders():
                (folder / f"{name}.png").unlink(missing_ok=True)
        for file in (*self._files(), *([self.report] if is_report(self.report) else []), self.run):
            file.unlink(missing_ok=True)
        for folder in self._picture_folders():
            with suppress(OSError):  # The folder stays if the user keeps something in it.
                folder.rmdir()

    def names(self) -> list[str]:
        """The names of all files and picture folders that a run may write."""
        return [path.name for path in (*self._picture_folders(), *self._files(), self.run)]

    def written(self) -> list[str]:
        """The names of the run's files and picture folders that exist."""
        return [name for name in self.names() if (self.path / name).exists()]

    def count_pictures(self, folder: Path) -> int:
        """How many of the frames in frames.jsonl have their picture in a picture folder."""
        return sum((folder / f"{name}.png").is_file() for name in _frame_names(self.frames))

    def _picture_folders(self) -> tuple[Path, ...]:
        return self.masks, self.panoptic, self.kitti_step

    def _files(self) -> tuple[Path, ...]:
        """All but run.json."""
        return self.overlay, self.panoptic_json, self.instances, self.coco, self.frames, self.metrics

    def _recorded(self) -> list[str] | None:
        """The files on the record of an earlier run; None if run.json is missing or is not ours."""
        try:
            record = json.loads(self.run.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(record, dict) or not isinstance(record.get("files"), list):
            return None
        is_ours = record.get(OWNER) == "run" or (record.keys() >= KEYS_OF_0_1 and _names_tttv(record["versions"]))
        return record["files"] if is_ours else None

    def _entries(self) -> list[str]:
        if not self.path.is_dir():
            return []
        try:
            return [entry for entry in os.listdir(self.path) if entry != LOCK]
        except OSError as error:
            raise TttvError(f"{printable(self.path)}: cannot be read ({error.strerror})") from error


def is_report(path: Path) -> bool:
    """Whether `path` is a page that `tttv report` wrote."""
    try:
        with path.open("rb") as file:
            return REPORT_MARK in file.read(2000)
    except OSError:
        return False


@contextmanager
def claimed(folder: RunFolder, source: Path | None, overwrite: bool) -> Iterator[None]:
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


def _names_tttv(versions: object) -> bool:
    return isinstance(versions, dict) and OWNER in versions


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
