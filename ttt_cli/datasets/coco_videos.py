"""COCO Videos: a COCO panoptic file for each video in annotations/{train,val}, PNGs in panoptic_images/VIDEO.

The frames are in images/VIDEO. Instances are the segments of things; a pixel has the class of its segment.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from ttt_cli.core.coco_classes import COCO_PANOPTIC
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.datasets.coco_panoptic import panoptic_stream
from ttt_cli.datasets.stream import Stream, StreamRequest, open_frames

# The paper's protocol: every tenth of the first 4000 frames is scored.
EVERY = 10
SCORED_FRAMES = 4000
SPLITS = ("train", "val")


def coco_videos_streams(request: StreamRequest) -> list[Stream]:
    """The videos of the split, or all, sorted by name; request.truth is the folder annotations or contains it.

    A video that is in both splits is two streams, called "VIDEO train" and "VIDEO val". Raises TttvError if there is
    no file or a file is malformed.
    """
    inner = request.truth / "annotations"
    annotations = inner if inner.is_dir() else request.truth
    splits = (request.split,) if request.split else ("", *SPLITS)
    folders = [annotations / split for split in splits]
    files = sorted(
        (file for folder in folders for file in folder.glob("[!.]*.json")), key=lambda file: (file.stem, file)
    )
    if not files:
        raise TttvError(f"{printable(annotations)}: has no annotations VIDEO.json in it; check --gt and --split")
    count = Counter(file.stem for file in files)
    streams = [_stream(file, annotations.parent, request, only_video=len(count) == 1) for file in files]
    return [
        dataclasses.replace(stream, name=f"{stream.name} {file.parent.name}") if count[file.stem] > 1 else stream
        for stream, file in zip(streams, files, strict=True)
    ]


def _stream(file: Path, root: Path, request: StreamRequest, only_video: bool) -> Stream:
    video = open_frames(request, file.stem, root / "images" / file.stem, only_video)
    pngs = root / "panoptic_images" / file.stem
    return panoptic_stream(video, request.task, file, pngs, COCO_PANOPTIC, SCORED_FRAMES)
