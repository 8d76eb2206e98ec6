"""Data sets of labeled videos, one module each, and the table of them.

To add a data set, write a module here and add a line to DATASETS.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from ttt_cli.core.choices import choices
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.datasets.camvid import camvid_streams
from ttt_cli.datasets.coco import coco_streams
from ttt_cli.datasets.coco_videos import EVERY, SPLITS, coco_videos_streams
from ttt_cli.datasets.davis import davis_streams
from ttt_cli.datasets.films import color_video_streams, lumiere_streams
from ttt_cli.datasets.folder import folder_streams
from ttt_cli.datasets.kitti_step import SEQUENCES, kitti_step_streams
from ttt_cli.datasets.stream import Dataset, Stream, StreamRequest, scored_each

ALL_TASKS = ("semantic", "instance", "panoptic")

DATASETS: dict[str, Dataset] = {
    "camvid": Dataset(camvid_streams, ALL_TASKS),
    "coco-videos": Dataset(coco_videos_streams, ALL_TASKS, every=EVERY, splits=SPLITS),
    "kitti-step": Dataset(kitti_step_streams, ALL_TASKS, splits=tuple(SEQUENCES)),
    "coco": Dataset(coco_streams, ("instance",)),
    "davis": Dataset(davis_streams, ("instance",)),
    "folder": Dataset(folder_streams, ALL_TASKS),
    "color-video": Dataset(color_video_streams, ("colorization",)),
    "lumiere": Dataset(lumiere_streams, ("colorization",)),
}


def default_task(name: str) -> str | None:
    """The task of the data set `name` if it has only one; None if it has several or is unknown."""
    tasks = DATASETS[name].tasks if name in DATASETS else ()
    return tasks[0] if len(tasks) == 1 else None


def open_streams(name: str, request: StreamRequest) -> list[Stream]:
    """The labeled videos of the data set `name`, a key of DATASETS.

    Raises UsageError for an unknown data set, task or split, and whatever the data set's own function raises.
    """
    if name not in DATASETS:
        raise UsageError(f"data set {printable(name)!r} is unknown; {choices(name, DATASETS)}")
    dataset = DATASETS[name]
    if request.task not in dataset.tasks:
        task, known = printable(request.task), ", ".join(dataset.tasks)
        raise UsageError(f"data set {name} has no labels for the task {task!r}; it has them for: {known}")
    if request.split is not None and request.split not in dataset.splits:
        split = request.split
        raise UsageError(f"data set {name} has no split {printable(split)!r}; {choices(split, dataset.splits)}")
    every = dataset.every if request.every is None else request.every
    if every < 1:
        raise UsageError(f"every must be 1 or more, not {every}")
    # Streams are named after folders and frames are looked up beside them, so "." and ".." must be resolved.
    request = dataclasses.replace(request, truth=Path(os.path.abspath(request.truth)))
    return [scored_each(_with_notes(stream), every) for stream in dataset.open(request)]


def _with_notes(stream: Stream) -> Stream:
    notes = tuple(f"{stream.name}: {note}" for note in stream.video.notes)
    return dataclasses.replace(stream, warnings=stream.warnings + notes)
