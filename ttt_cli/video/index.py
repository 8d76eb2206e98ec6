"""Finds out where in a video file decoding can begin, so that it gives the same frames as from the beginning.

A container lists its packets with their time stamps, and reading this list is much quicker than decoding. It tells the
position of a frame in the input if every packet becomes one frame, which is so only in the containers and codecs below,
and only if nothing is damaged.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ttt_cli.video.messages import TICKS
from ttt_cli.video.packets import DISCARDED, KEY, Damaged, packets
from ttt_cli.video.probe import Probe

CONTAINERS = ("mov", "matroska")
FILTERS = {
    "h264": ("h264_metadata", "filter_units=pass_types=5"),
    "hevc": ("hevc_metadata", "filter_units=pass_types=19-20"),
    "av1": ("av1_metadata", "null"),
    "vp9": ("null", "null"),
}
"""By codec, two filters of ffmpeg's packets. The first stumbles over damage, as the decoder would.

The second keeps those where decoding can begin: in H.264 and H.265 a keyframe may leave earlier pictures in use, and
only the kind called IDR does not.
"""
SEEKABLE = ("h264", "hevc")
"""What is not named here is read from the beginning. The decoders of AV1 and VP9 drop a frame whose inside is damaged,
which the list does not show, so that all positions after it would be wrong; those of H.264 and H.265 mend it.
"""
REORDERED = 32
"""Packets come in the order of decoding; a picture is shown at most 16 pictures later in H.264 and H.265."""
SEEK_LATE = 0.2
"""ffmpeg may begin this many seconds before the place that it is told, at the keyframe before the one that is meant."""


@dataclass(frozen=True)
class Entry:
    """A place where decoding can begin."""

    seconds: float
    """Where to tell ffmpeg to seek to, from the earliest stream's start on."""
    index: int
    """Position in the input of the frame there."""
    ticks: list[int]
    """Time stamps of this frame and of those after it, as far as they are known."""


@dataclass(frozen=True)
class Destination:
    """A frame that can be reached without decoding all frames before it."""

    entry: Entry
    tick: int
    """Time stamp of the frame."""
    first: int
    """Position in the input of the first frame from the start on."""


def find(path: Path, probed: Probe, start_tick: int, frames_after: int) -> Destination | None:
    """How to reach the frame that comes `frames_after` frames after the first one at `start_tick` or later.

    None if it must be read from the beginning: if the frames could differ, or nothing is saved.
    """
    if probed.first_tick is None or probed.codec not in SEEKABLE or probed.container.split(",")[0] not in CONTAINERS:
        return None
    listed = _listed(path, probed, start_tick, frames_after + 2 * REORDERED)
    if listed is None:
        return None
    ticks, keys, entries = listed
    first = bisect_left(ticks, start_tick)
    target = first + frames_after
    if target >= len(ticks) or ticks[0] != probed.first_tick or keys[:1] != entries[:1]:
        return None
    if any(tick >= following for tick, following in pairwise(ticks)):
        return None
    place = bisect_right(entries, ticks[target]) - 1
    index = bisect_left(ticks, entries[place]) if place >= 0 else 0
    if index == 0 or ticks[index] != entries[place]:
        return None
    following_key = next((key for key in keys if key > entries[place]), ticks[-1])
    seconds = min(entries[place] / TICKS + SEEK_LATE, (following_key - 1) / TICKS)
    return Destination(Entry(seconds, index, ticks[index:]), ticks[target], first)


def _listed(path: Path, probed: Probe, start_tick: int, enough: int) -> tuple[list[int], list[int], list[int]] | None:
    """The time stamps of the shown frames (sorted), of keyframes, and of those where decoding can begin.

    Ends when there are `enough` frames from `start_tick` on. None if the file is damaged.
    """
    ticks: list[int] = []
    keys: list[int] = []
    entries: list[int] = []
    after = 0
    try:
        with closing(packets(path, probed.stream, *FILTERS[probed.codec])) as listed:
            for packet in listed:
                is_key = bool(packet.flags & KEY)
                if packet.kept:
                    entries += [packet.tick] if is_key else []
                    continue
                keys += [packet.tick] if is_key else []
                if not packet.flags & DISCARDED:
                    ticks.append(packet.tick)
                    after += packet.tick >= start_tick
                if after > enough:
                    return sorted(ticks)[:-REORDERED], sorted(keys), sorted(entries)
    except Damaged:
        return None
    return sorted(ticks), sorted(keys), sorted(entries)
