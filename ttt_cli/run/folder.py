"""The output folder of a run: claimed by one run at a time; the user's own files in it are never deleted."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.replacing import replacing
from ttt_cli.run.label_paths import LabelPaths
from ttt_cli.run.lock import LOCK, is_locked, locked

REPORT = "report.html"
REPORT_MARK = b"<title>tttv report</title>"
"""Near the beginning of every report."""
STATES = "state-*.tttv"
"""The checkpoints among the unfinished files, see run/journal.py; the number is that of the frames done."""
UNFINISHED = (STATES, "state-*.part", "piece-*.mp4", "pieces.txt", "pictures.txt", "whole.mp4", "*.jsonl")
"""What there may be in the folder of unfinished files."""
REPLACED = "replaced"
"""A folder in there, for the files of a finished run that the present one replaces."""
FINISHED = ("done", "partial")
"""What run.json says of runs that are at their end."""
OWNER = "tttv"
"""The key by which a record says that it is ours, and of what: `"tttv": "run"`."""
KEYS_OF_0_1 = frozenset(
    {
        *("input", "video", "settings", "weights", "device", "machine", "versions", "started", "status", "reason"),
        *("frames", "skipped_steps", "first_loss", "last_loss", "audio_note", "cuts", "warnings", "seconds", "files"),
    }
)
"""What every run.json of tttv 0.1 has, which does not say whose it is."""


class RunFolder(LabelPaths):
    """The paths of a run's files.

    video: where the overlay is put as well, beside the folder, if the user named a video; None if not.
    """

    def __init__(self, path: Path, video: Path | None = None) -> None:
        super().__init__(path)
        self.video = video
        self.fixed = LabelPaths(path, "-fixed")  # What the fixed model predicts, if it runs beside.
        self.overlay = path / "overlay.mp4"
        self.frames = path / "frames.jsonl"
        self.metrics = path / "metrics.json"
        self.run = path / "run.json"
        self.report = path / REPORT
        self.pictures = self.unfinished / "pictures.txt"

    def check(self, source: Path | None, overwrite: bool, resume: bool = False) -> None:
        """Raises TttvError if this run may not write to the folder. Nothing is created or changed.

        source: the input file or folder, which must not lie in this folder; None for live input.
        resume: whether a run here is to go on.
        """
        shown = printable(self.path)
        if self.path.exists() and not self.path.is_dir():
            raise TttvError(f"{shown}: is a file; name a folder with --out")
        if source is not None and source.resolve().is_relative_to(self.path.resolve()):
            raise TttvError(f"{shown}: the input lies in the output folder; name another with --out")
        if self.video is not None:
            self._check_video(self.video, source, overwrite, resume)
        if not self._entries():
            return
        if not (overwrite or resume):
            raise TttvError(f"{shown}: {self._occupied()}, or name another folder with --out")
        files = self._recorded()
        if files is None:
            raise TttvError(
                f"{shown}: is not a run folder (no run.json of tttv in it), so nothing in it is changed; name another"
            )
        for path in (*self._files(), *self._picture_folders(), self.unfinished):
            if path.is_symlink() or (path.exists() and path.name not in files):
                raise TttvError(
                    f"{printable(path)}: is not on the record of the run in this folder (files in run.json), so it is "
                    "not overwritten; move it away, or name another folder with --out"
                )

    def _check_video(self, video: Path, source: Path | None, overwrite: bool, resume: bool) -> None:
        if source is not None and source.resolve() == video.resolve():
            raise TttvError(f"{printable(video)}: is the input; name another --out")
        is_ours = resume and (self.record() or {}).get("video_file") == str(video.absolute())
        if not (overwrite or is_ours) and (video.exists() or video.is_symlink()):
            raise TttvError(f"{printable(video)}: exists; add --overwrite, or name another --out")

    def put_video(self) -> None:
        """Puts the overlay where the user wants it, too: as another name of the same file, or as a copy."""
        if self.video is None or not self.overlay.is_file():
            return
        with replacing(self.video, remedy=f"the video is {printable(self.overlay)}") as temporary:
            try:
                temporary.hardlink_to(self.overlay)
            except OSError:  # Not every file system has links.
                shutil.copy2(self.overlay, temporary)

    def clear(self) -> None:
        """Puts what a finished run wrote here aside until another one is finished, too; what else one wrote is deleted.

        Nothing else is touched: `check` has found nothing else of these names.
        """
        aside = self.unfinished / REPLACED
        keep = self.is_finished()
        for file in self._own_files():
            if keep:
                kept = aside / file.relative_to(self.path)
                kept.parent.mkdir(parents=True, exist_ok=True)
                file.replace(kept)
            else:
                file.unlink()
        for folder in self._picture_folders():
            with suppress(OSError):  # The folder stays if the user keeps something in it.
                folder.rmdir()
        self._delete_unfinished()

    def _own_files(self) -> list[Path]:
        """All files of the run that is here."""
        names = dict.fromkeys((*_frame_names(self.frames), *_lines(self.pictures, 0)))
        pictures = (folder / f"{name}.png" for name in names for folder in self._picture_folders())
        report = [self.report] if is_report(self.report) else []
        return [file for file in (*pictures, *self._files(), *report, self.run) if file.is_file()]

    def finish(self) -> None:
        """Deletes what is needed no more when the run is finished: what to go on from, and the run it replaces."""
        shutil.rmtree(self.unfinished / REPLACED, ignore_errors=True)
        self._delete_unfinished()

    def forget_pictures(self, begin: int) -> None:
        """Deletes the pictures that are named behind the first `begin` bytes of the list of pictures."""
        self._delete_pictures(_lines(self.pictures, begin))

    def names(self) -> list[str]:
        """The names of all files and folders that a run may write."""
        return [path.name for path in (*self._picture_folders(), *self._files(), self.run, self.unfinished)]

    def written(self) -> list[str]:
        """The names of the run's files and picture folders that exist."""
        return [name for name in self.names() if (self.path / name).exists()]

    def count_pictures(self, folder: Path) -> int:
        """How many of the frames in frames.jsonl have their picture in a picture folder."""
        return sum((folder / f"{name}.png").is_file() for name in _frame_names(self.frames))

    def _delete_unfinished(self) -> None:
        for pattern in UNFINISHED:
            for file in self.unfinished.glob(pattern):
                file.unlink(missing_ok=True)
        with suppress(OSError):  # The folder stays if there is something else in it.
            self.unfinished.rmdir()

    def _delete_pictures(self, names: Iterable[str]) -> None:
        for name in names:
            for folder in self._picture_folders():
                (folder / f"{name}.png").unlink(missing_ok=True)

    def _picture_folders(self) -> tuple[Path, ...]:
        return *self.picture_folders(), *self.fixed.picture_folders()

    def _files(self) -> tuple[Path, ...]:
        """All but run.json."""
        return self.overlay, *self.collections(), *self.fixed.collections(), self.frames, self.metrics

    def was_cut_off(self) -> bool:
        """Whether there is a run here that is not finished; it may still be going on."""
        return self._status() not in (None, *FINISHED)

    def is_finished(self) -> bool:
        """Whether there is a run here that has come to its end."""
        return self._status() in FINISHED

    def _occupied(self) -> str:
        """What is in the folder, and what to do about it."""
        if is_locked(self.path):
            return "another run is writing here; wait for it"
        if not self.was_cut_off():
            return "exists and is not empty; add --overwrite"
        checkpoints = sorted(self.unfinished.glob(STATES))
        after = f" (it can go on after frame {int(checkpoints[-1].stem.partition('-')[2])})" if checkpoints else ""
        return f"holds a run that was cut off{after}; add --resume to go on with it, --overwrite to begin anew"

    def record(self) -> dict[str, Any] | None:
        """The content of run.json; None if it is missing or is not ours."""
        try:
            record = json.loads(self.run.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(record, dict) or not isinstance(record.get("files"), list):
            return None
        is_ours = record.get(OWNER) == "run" or (record.keys() >= KEYS_OF_0_1 and _names_tttv(record["versions"]))
        return record if is_ours else None

    def _recorded(self) -> list[str] | None:
        """The files on the record of an earlier run; None if there is no such record."""
        record = self.record()
        return None if record is None else record["files"]

    def _status(self) -> str | None:
        """The status of an earlier run; None if there is none."""
        record = self.record()
        return None if record is None else str(record.get("status"))

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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON that any parser reads (no NaN), through a temporary file, so that the file is never incomplete."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_text(to_json(content, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


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


def _lines(path: Path, begin: int) -> Iterator[str]:
    """The names of frames in a list of pictures, from its `begin`-th byte on."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(begin)
        for line in file.read().decode("utf-8", "replace").splitlines():
            if Path(line).name == line:
                yield line


def _names_tttv(versions: object) -> bool:
    return isinstance(versions, dict) and OWNER in versions
