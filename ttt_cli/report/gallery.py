"""The pictures that the player of the report shows: frames of the input, and what was predicted for them.

They are small, and of a long video only so many; frames are JPEGs, class maps are PNGs of class ids.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from ttt_cli.core.area import Area
from ttt_cli.core.classes import VOID
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.frame import Video
from ttt_cli.core.toml import from_table
from ttt_cli.report.collect import SegmentRun
from ttt_cli.video.opening import open_input
from ttt_cli.video.reader import open_video
from ttt_cli.video.settings import InputSettings

WIDEST = 640
"""Largest width of a picture in the player, in pixels."""
MOST_FRAMES = 300
"""Frames in the player at most, without those that are worth looking at."""
MOST_BYTES = 24 * 2**20
"""Size of all pictures of a page, of which each run gets its part."""
QUALITY = 82
LAYOUTS = {"compare": ("fixed", "adapted"), "panes": ("source", "fixed", "adapted")}
"""What stands side by side in the overlay."""
Found = Iterator[tuple[int, bytes]]
"""Positions of frames with their pictures."""


@dataclass(frozen=True)
class Pane:
    """One picture of the player."""

    name: str
    """"source", "fixed", "adapted" or "overlay"."""
    pictures: Mapping[int, bytes]
    """By the position of the frame among those of the run."""
    has_ids: bool = False
    """Whether they are class ids, to be drawn over the source."""


def thinned(frames: int, most: int = MOST_FRAMES) -> list[int]:
    """Positions of at most so many frames at even distances; those of a growing video are among the earlier ones."""
    stride = 1
    while frames > most * stride:
        stride *= 2
    return list(range(0, frames, stride))


@dataclass
class Gallery:
    """Reads pictures of one run, which may grow meanwhile, and keeps them."""

    missing: list[str] = field(default_factory=list)
    """Why some pictures of the last call could not be had."""
    _kept: dict[tuple[str, int], bytes] = field(default_factory=dict)

    def panes(self, run: SegmentRun, positions: list[int]) -> list[Pane]:
        """What there is of these frames."""
        self.missing, folder = [], run.folder
        panes = [self._pane("source", partial(_source, run), positions)]
        if folder.masks.is_dir():
            panes += [
                self._pane(name, partial(_class_maps, run, path), positions, has_ids=True)
                for name, path in (("fixed", folder.fixed.masks), ("adapted", folder.masks))
                if path.is_dir()
            ]
        elif folder.instances.is_file():
            panes += [
                self._pane(name, partial(_instances, run, path), positions, has_ids=True)
                for name, path in (("fixed", folder.fixed.instances), ("adapted", folder.instances))
                if path.is_file()
            ]
        elif folder.overlay.is_file():
            video = open_video(folder.overlay)
            for name, area in _areas(run, video).items():
                panes.append(self._pane(name, partial(_frames, video, area), positions))
        return [pane for pane in panes if pane.pictures]

    def _pane(self, name: str, read: Callable[[set[int]], Found], positions: list[int], has_ids: bool = False) -> Pane:
        wanted = {position for position in positions if (name, position) not in self._kept}
        try:
            for position, picture in read(wanted) if wanted else ():
                self._kept[name, position] = picture
        except TttvError as error:
            self.missing.append(f"{name}: {error}")
        pictures = {position: self._kept[name, position] for position in positions if (name, position) in self._kept}
        return Pane(name, pictures, has_ids)


def pixels_of(picture: bytes) -> np.ndarray:
    """The pixels of a picture of a pane: RGB, uint8 (H, W, 3), or class ids, uint8 (H, W)."""
    return np.asarray(Image.open(io.BytesIO(picture)))


def jpeg(pixels: np.ndarray, widest: int = WIDEST) -> bytes:
    """A picture, uint8 RGB (H, W, 3), at most so wide, as JPEG."""
    picture = Image.fromarray(pixels)
    picture = picture.resize(_small(picture.size, widest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=QUALITY)
    return buffer.getvalue()


def data_uri(picture: bytes) -> str:
    """A JPEG or PNG as an address that holds the picture itself."""
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def _source(run: SegmentRun, wanted: set[int]) -> Found:
    settings = from_table(InputSettings, run.report["settings"]["input"], str(run.folder.run))
    names = [frame["name"] for frame in run.frames]
    yield from _frames(open_input(Path(run.report["input"]), settings), None, wanted, names)


def _frames(video: Video, area: Area | None, wanted: set[int], names: Sequence[str] | None = None) -> Found:
    """An area of frames of a video; None is all. Raises TttvError if the frames are not called like the run's."""
    first, last = min(wanted), max(wanted)
    for position, frame in enumerate(video.frames_from(first), first):
        if names is not None and frame.name != names[position]:
            raise TttvError(f"{printable(video.source)}: has other frames than when the run was made")
        if position in wanted:
            image = frame.image if area is None else area.of(frame.image)
            yield position, jpeg(image.permute(1, 2, 0).contiguous().numpy())
        if position == last:
            return


def _areas(run: SegmentRun, video: Video) -> dict[str, Area | None]:
    """Where each model's picture is in the overlay; of a task with classes it is shown as it is, with its legend."""
    settings, size = run.report["settings"], run.report["video"]
    names = LAYOUTS.get(
        settings["output"].get("layout") or ("compare" if settings["output"].get("compare") else ""), ()
    )
    if settings["task"]["task"] != "colorization" or not names:
        return {"overlay": None}
    width, height = size["width"], size["height"]
    step = (video.size[1] - width) // (len(names) - 1)
    top = video.size[0] - height
    areas = {name: Area(top, number * step, height, width) for number, name in enumerate(names)}
    return {name: area for name, area in areas.items() if name != "source"}


def _class_maps(run: SegmentRun, folder: Path, wanted: set[int]) -> Found:
    for position in sorted(wanted):
        path = folder / f"{run.frames[position]['name']}.png"
        try:
            with Image.open(path) as picture:
                yield position, _ids_png(np.asarray(picture))
        except (OSError, SyntaxError, ValueError) as error:
            raise TttvError(f"{printable(path)}: cannot be read ({error})") from error


def _instances(run: SegmentRun, path: Path, wanted: set[int]) -> Found:
    """Class maps made of an instances.json, the surest object on top."""
    try:
        objects: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        positions = {frame["index"]: position for position, frame in enumerate(run.frames)}
        shown = [entry for entry in objects if entry["score"] >= run.report["settings"]["task"]["shown_score"]]
        size = run.report["video"]["height"], run.report["video"]["width"]
        maps = {position: np.full(size, VOID, np.uint8) for position in wanted}
        for entry in sorted(shown, key=lambda entry: float(entry["score"])):
            if (position := positions[entry["image_id"]]) in wanted:
                maps[position][coco_mask.decode(entry["segmentation"]).astype(bool)] = entry["category_id"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TttvError(f"{printable(path)}: cannot be read ({error})") from error
    for position, ids in maps.items():
        yield position, _ids_png(ids)


def _ids_png(ids: np.ndarray) -> bytes:
    picture = Image.fromarray(ids)
    picture = picture.resize(_small(picture.size, WIDEST), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _small(size: tuple[int, int], widest: int) -> tuple[int, int]:
    """(width, height), no wider than `widest`."""
    width, height = size
    return min(width, widest), max(1, round(height * min(1, widest / width)))
