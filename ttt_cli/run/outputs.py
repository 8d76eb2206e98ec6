"""Writes a run's output for every frame, in a thread of its own while the model is busy with the next frame."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import IO

import numpy as np

from ttt_cli.core.classes import Class, things_of
from ttt_cli.core.frame import Frame, Result, Video
from ttt_cli.core.labels import Labels
from ttt_cli.draw.drawing import Drawing
from ttt_cli.draw.overlay import side_by_side
from ttt_cli.draw.tracks import Tracks
from ttt_cli.run.folder import RunFolder, to_json
from ttt_cli.run.frame_record import FrameRecord
from ttt_cli.run.label_files import LabelFile, label_files
from ttt_cli.run.settings import RunSettings
from ttt_cli.video.images import is_image
from ttt_cli.video.writer import VideoWriter

STEPS_WAITING = 4
"""Steps in the queue at most."""


@dataclass(frozen=True)
class Step:
    """The model's results for one frame."""

    result: Result
    """At the size of the model's input."""
    labels: Labels
    """The prediction, at the size of the input's frame."""
    fixed_labels: Labels | None
    """The fixed model's prediction, at the same size; None without `compare`."""
    milliseconds: dict[str, float]
    """Time by stage, so far."""

    @property
    def frame(self) -> Frame:
        """The frame as it came from the input."""
        return self.result.frame.whole()


class Outputs:
    """A context manager that writes steps in the order they are put, and finishes the files at its end.

    frames: how many are written. milliseconds: by stage, over all frames. Set after the last frame: audio_note, why
    sound could not be kept, and missing, which files somebody deleted meanwhile.
    """

    def __init__(self, folder: RunFolder, video: Video, classes: tuple[Class, ...], settings: RunSettings) -> None:
        self.folder, self.video, self.classes, self.settings = folder, video, classes, settings
        self.frames = 0
        self.milliseconds: Counter[str] = Counter()
        self.audio_note: str | None = None
        self.missing: list[str] = []
        names = settings.output.classes
        self._kept = frozenset(index for index, kind in enumerate(classes) if not names or kind.name in names)
        self._drawing = Drawing(classes, settings.output, settings.task.shown_score)
        self._tracks, self._fixed_tracks = (Tracks(things_of(classes), settings.task.shown_score) for _ in range(2))
        self._steps: queue.Queue[Step | None] = queue.Queue(STEPS_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="outputs", daemon=True)

    def put(self, step: Step) -> None:
        """Queues a step; waits while the queue is full. Raises the error if writing an earlier step failed."""
        if self._error is not None:
            raise self._error
        self._steps.put(step)

    def __enter__(self) -> Outputs:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._steps.put(None)
        self._thread.join()
        if self._error is not None and self._error is not error:
            raise self._error

    def _run(self) -> None:
        steps = iter(self._steps.get, None)
        try:
            self._write_all(steps)
        except BaseException as error:
            self._error = error
            for _ in steps:  # `put` may be waiting for room.
                pass

    def _write_all(self, steps: Iterator[Step]) -> None:
        with ExitStack() as stack:
            log = stack.enter_context(self.folder.frames.open("w", encoding="utf-8"))
            files: list[LabelFile] = []
            if self.settings.output.masks:
                files = label_files(self.settings.task.task, self.settings.output.formats, self.folder, self.classes)
            for file in files:
                stack.callback(file.close)
            writer: VideoWriter | None = None
            for step in steps:
                if self.settings.output.overlay and writer is None:
                    writer = stack.enter_context(self._writer(step.frame.seconds))
                self._write(step, writer, files, log)
        self.audio_note = writer.audio_note if writer else None
        self.missing = self._missing(files, writer is not None)

    def _missing(self, files: list[LabelFile], overlay: bool) -> list[str]:
        """What was written and is not there any more, as phrases."""
        log = self.folder.frames
        whole = [log, *([self.folder.overlay] if overlay else []), *(path for file in files for path in file.files())]
        missing = [f"{path.name} is gone" for path in whole if not path.is_file()]
        folders = [folder for file in files if (folder := file.pictures()) is not None]
        for folder in folders if log.is_file() else []:  # The log says which pictures there should be.
            there = self.folder.count_pictures(folder)
            if there < self.frames:
                missing.append(f"{folder.name} has {there} of {self.frames} pictures")
        return missing

    def _writer(self, start_seconds: float) -> VideoWriter:
        height, width = self.video.size
        path = self.video.path
        return VideoWriter(
            self.folder.overlay,
            self.video.fps,
            (height, width * 2 if self.settings.output.compare else width),
            audio_from=path if path is not None and path.is_file() and not is_image(path) else None,
            audio_start_seconds=start_seconds,
        )

    def _write(self, step: Step, writer: VideoWriter | None, files: list[LabelFile], log: IO[str]) -> None:
        result, frame = step.result, step.frame
        spent: dict[str, float] = {}
        with _timed("masks", spent):
            labels = self._tracks.numbered(step.labels.of_classes(self._kept))
        if writer is not None:
            with _timed("draw", spent):
                picture = self._drawn(step, labels)
            with _timed("encode", spent):
                writer.write(picture)
        # Just before the log, which says whose the pictures are, so that a killed run hardly ever leaves one too many.
        with _timed("masks", spent):
            for file in files:
                file.write(frame, labels)
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
        )
        log.write(to_json(record.as_json()) + "\n")
        log.flush()
        self.frames += 1

    def _drawn(self, step: Step, labels: Labels) -> np.ndarray:
        """The overlay of a step: uint8 (H, W, 3), or twice as wide with `compare`."""
        image = step.frame.image
        if step.fixed_labels is None:
            return self._drawing.pictures(image, [labels])[0]
        fixed = self._fixed_tracks.numbered(step.fixed_labels.of_classes(self._kept))
        left, right = self._drawing.pictures(image, [fixed, labels])
        return side_by_side(left, right, ("fixed", self.settings.adaptation.method))


@contextmanager
def _timed(stage: str, spent: dict[str, float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    spent[stage] = spent.get(stage, 0.0) + (time.perf_counter() - began) * 1000
