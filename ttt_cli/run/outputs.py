"""Writes a run's output for every frame, in a thread of its own while the model is busy with the next frame."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ttt_cli.core.classes import Class
from ttt_cli.core.frame import Frame, Video
from ttt_cli.run.appended_log import AppendedLog
from ttt_cli.run.folder import RunFolder, to_json
from ttt_cli.run.frame_record import FrameRecord
from ttt_cli.run.journal import Checkpoint, Journal, fsync, packed
from ttt_cli.run.label_files import LabelFile, label_files
from ttt_cli.run.label_paths import LabelPaths
from ttt_cli.run.settings import RunSettings
from ttt_cli.run.steps import Step
from ttt_cli.run.views import View, Views
from ttt_cli.video.images import is_image
from ttt_cli.video.writer import VideoWriter

STEPS_WAITING = 4
"""Steps in the queue at most."""


@dataclass
class _Files:
    """What is open while the run goes on."""

    frames: AppendedLog
    """frames.jsonl."""
    pictures: AppendedLog
    """The names of all pictures that are written."""
    labels: list[LabelFile]
    """The label files."""
    fixed: list[LabelFile]
    """Those of the fixed model, if it runs beside."""
    writer: VideoWriter | None = None
    """Of the overlay."""

    def logs(self) -> list[AppendedLog]:
        """All text files that grow."""
        return [self.frames, self.pictures, *(log for file in self.all_labels() for log in file.collections())]

    def all_labels(self) -> list[LabelFile]:
        """The label files of both models."""
        return [*self.labels, *self.fixed]

    def picture_folders(self) -> list[Path]:
        """The folders that get a picture of every frame."""
        return [folder for file in self.all_labels() if (folder := file.pictures()) is not None]


@dataclass(frozen=True)
class _CheckpointDue:
    """After the steps before it, the state of the outputs is added to those of other parts, and all is journaled."""

    parts: dict[str, bytes]


_Waiting = Step | _CheckpointDue | None
"""What waits for the thread; None is the end."""


class Outputs:
    """A context manager that writes steps in the order they are put, and finishes the files at its end.

    journal: for checkpoints. saved: one of an earlier run; these outputs go on after it.
    frames: how many are written. milliseconds: by stage, over all frames. journal_seconds: of the last checkpoint.
    Set after the last frame: audio_note, why sound could not be kept, and missing, which files somebody deleted
    meanwhile.
    """

    def __init__(
        self,
        folder: RunFolder,
        video: Video,
        classes: tuple[Class, ...],
        settings: RunSettings,
        journal: Journal,
        saved: Checkpoint | None = None,
    ) -> None:
        self.folder, self.video, self.classes, self.settings = folder, video, classes, settings
        self.journal, self.journal_seconds = journal, 0.0
        self.frames = 0
        self.milliseconds: Counter[str] = Counter()
        self.audio_note: str | None = None
        self.missing: list[str] = []
        self._views = Views(video, classes, settings)
        self._state = None if saved is None else saved.parts["outputs"]
        self._not_on_disk: list[Path] = []  # Pictures since the last checkpoint.
        self._pieces_on_disk = 0
        self._waiting: queue.Queue[_Waiting] = queue.Queue(STEPS_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="outputs", daemon=True)

    def put(self, step: Step) -> None:
        """Queues a step; waits while the queue is full. Raises the error if writing an earlier step failed."""
        self._put(step)

    def checkpoint(self, parts: dict[str, bytes]) -> None:
        """Queues a checkpoint after the steps so far, which must be a multiple of `checkpoint_frames`.

        parts: the states of other parts of the run at that point, see run/journal.py.
        """
        self._put(_CheckpointDue(parts))

    def _put(self, entry: Step | _CheckpointDue) -> None:
        if self._error is not None:
            raise self._error
        self._waiting.put(entry)

    def __enter__(self) -> Outputs:
        self.folder.unfinished.mkdir(exist_ok=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._waiting.put(None)
        self._thread.join()
        if self._error is not None and self._error is not error:
            raise self._error

    def _run(self) -> None:
        entries: Iterator[Step | _CheckpointDue] = iter(self._waiting.get, None)
        try:
            self._write_all(entries)
        except BaseException as error:
            self._error = error
            for _ in entries:  # `put` may be waiting for room.
                pass

    def _write_all(self, entries: Iterator[Step | _CheckpointDue]) -> None:
        with ExitStack() as stack:
            files = self._open(stack)
            for entry in entries:
                if isinstance(entry, _CheckpointDue):
                    self._write_checkpoint(files, entry.parts)
                    continue
                if self.settings.output.overlay and files.writer is None:
                    files.writer = stack.enter_context(self._writer(entry.frame.seconds, []))
                self._write(entry, files)
        self.audio_note = files.writer.audio_note if files.writer else None
        self.missing = self._missing(files)

    def _open(self, stack: ExitStack) -> _Files:
        """Opens all files but the overlay, which begins with the first frame, and goes on from an earlier state."""
        logs = (AppendedLog(self.folder.frames), AppendedLog(self.folder.pictures))
        fixed = self._label_files(self.folder.fixed) if self.settings.output.compares else []
        files = _Files(*logs, self._label_files(self.folder), fixed)
        for log in files.logs():
            stack.callback(log.close)
        for file in files.all_labels():
            stack.callback(file.close)
        state = self._state
        if state is not None:
            for log, size in zip(files.logs(), state["sizes"], strict=True):
                log.cut(size)
            self.frames, self.milliseconds = state["frames"], Counter(state["milliseconds"])
            for part, its_state in zip(self._views.parts(), state["parts"], strict=True):
                part.resume(its_state)
            if state["start_seconds"] is not None:
                files.writer = stack.enter_context(self._writer(state["start_seconds"], state["pieces"]))
        return files

    def _label_files(self, paths: LabelPaths) -> list[LabelFile]:
        settings = self.settings
        if not settings.output.masks:
            return []
        return label_files(settings.task.task, settings.output.formats, paths, self.classes)

    def _write_checkpoint(self, files: _Files, parts: dict[str, bytes]) -> None:
        began = time.perf_counter()
        for log in files.logs():
            log.flush()
        pieces = [] if files.writer is None else files.writer.pieces
        state = {
            "frames": self.frames,
            "milliseconds": dict(self.milliseconds),
            "parts": [part.state() for part in self._views.parts()],
            "sizes": [log.size for log in files.logs()],
            "pictures_size": files.pictures.size,
            "start_seconds": None if files.writer is None else files.writer.start_seconds,
            "pieces": pieces,
        }
        fsync(
            [*self._not_on_disk, *files.picture_folders(), *(log.path for log in files.logs()), self.folder.unfinished]
        )
        fsync(self.folder.unfinished / name for name in pieces[self._pieces_on_disk :])
        self._not_on_disk.clear()
        self._pieces_on_disk = len(pieces)
        self.journal.write(self.frames, {"outputs": packed(state), **parts})
        self.journal_seconds = time.perf_counter() - began

    def _missing(self, files: _Files) -> list[str]:
        """What was written and is not there any more, as phrases."""
        log = self.folder.frames
        whole = [log, *([self.folder.overlay] if files.writer else [])]
        whole += [path for file in files.all_labels() for path in file.files()]
        missing = [f"{path.name} is gone" for path in whole if not path.is_file()]
        folders = files.picture_folders()
        for folder in folders if log.is_file() else []:  # The log says which pictures there should be.
            there = self.folder.count_pictures(folder)
            if there < self.frames:
                missing.append(f"{folder.name} has {there} of {self.frames} pictures")
        return missing

    def _writer(self, start_seconds: float, pieces: list[str]) -> VideoWriter:
        path = self.video.path
        return VideoWriter(
            self.folder.overlay,
            self.video.fps,
            self._views.size,
            audio_from=path if path is not None and path.is_file() and not is_image(path) else None,
            start_seconds=start_seconds,
            folder=self.folder.unfinished,
            piece_frames=self.settings.output.checkpoint_frames,
            pieces=pieces,
        )

    def _write(self, step: Step, files: _Files) -> None:
        result, frame = step.result, step.frame
        spent: dict[str, float] = {}
        with _timed("masks", spent):
            view = self._views.of(step)
        if files.writer is not None:
            with _timed("draw", spent):
                picture = self._views.picture(step, view)
            with _timed("encode", spent):
                files.writer.write(picture)
        with _timed("masks", spent):
            self._write_labels(frame, view, files)
        self.milliseconds.update(spent)
        record = FrameRecord(
            index=frame.index,
            name=frame.name,
            seconds=round(frame.seconds, 6),
            loss=result.loss,
            skipped_steps=result.skipped_steps,
            milliseconds={stage: round(value, 2) for stage, value in {**step.milliseconds, **spent}.items()},
            cut=result.cut,
            window_estimate=result.window_estimate,
            dead_zone=result.dead_zone,
            adapted=result.adapted,
            agreement=None if view.agreement is None else round(view.agreement, 4),
            strangeness=None if step.strangeness is None else round(step.strangeness.look, 4),
        )
        files.frames.add(to_json(record.as_json()))
        files.frames.flush()
        self.frames += 1

    def _write_labels(self, frame: Frame, view: View, files: _Files) -> None:
        # First the name, so that however the run ends, it is known which pictures are its own.
        files.pictures.add(frame.name)
        files.pictures.flush()
        for file in files.labels:
            file.write(frame, view.labels)
        if view.fixed is not None:
            for file in files.fixed:
                file.write(frame, view.fixed)
        self._not_on_disk += [folder / f"{frame.name}.png" for folder in files.picture_folders()]


@contextmanager
def _timed(stage: str, spent: dict[str, float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    spent[stage] = spent.get(stage, 0.0) + (time.perf_counter() - began) * 1000
