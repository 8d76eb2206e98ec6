"""Lists the packets of a video file with their time stamps. Nothing is decoded, which makes it quick."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ttt_cli.video import ffmpeg
from ttt_cli.video.messages import TICKS, Messages

DISCARDED, KEY = 4, 1
"""Flags of a packet: decoded, but not shown, because of an edit list; a keyframe."""


@dataclass(frozen=True)
class Packet:
    """A piece of a stream, usually one frame."""

    tick: int
    """Time stamp of its frame."""
    flags: int
    """DISCARDED, KEY and others of ffmpeg's."""
    kept: bool
    """Whether it is from the second list, of the packets that were kept."""


class Damaged(Exception):
    """ffmpeg met an error, or a packet has no time stamp."""


def shown_ticks(path: Path, stream: str) -> tuple[list[int], bool]:
    """The time stamps of all frames that are shown, sorted, and whether there are others, which an edit list hides.

    Raises Damaged.
    """
    with closing(packets(path, stream)) as listed:
        found = list(listed)
    shown = sorted(packet.tick for packet in found if not packet.flags & DISCARDED)
    return shown, len(shown) < len(found)


def packets(path: Path, stream: str, check: str = "null", keep: str | None = None) -> Generator[Packet, None, None]:
    """The packets of a stream in the order of decoding, passed through a filter of ffmpeg, `check`.

    keep: a filter that lets pass some of them, which come once more, as a second list between the first one's.
    Raises Damaged.
    """
    arguments = ["-protocol_whitelist", "file", "-loglevel", "level+error", "-i", ffmpeg.file_url(path)]
    arguments += ["-map", stream] + (["-map", stream] if keep else []) + ["-c", "copy", "-bsf:v:0", check]
    arguments += ["-bsf:v:1", keep] if keep else []
    process = ffmpeg.start([*arguments, "-f", "framecrc", "pipe:1"], stdout=subprocess.PIPE)
    messages = Messages(process)
    assert process.stdout is not None
    unit = Fraction(1)
    try:
        for raw in process.stdout:
            line = raw.decode("ascii", "replace")
            if line.startswith("#tb 0:"):
                unit = Fraction(line.partition(":")[2].strip()) * TICKS
            elif not line.startswith("#"):
                yield _packet(line, unit)
            if messages.errors:
                raise Damaged
        if process.wait() != 0:
            raise Damaged
        messages.thread.join()
        if messages.errors:
            raise Damaged
    finally:
        process.kill()
        process.wait()
        messages.thread.join()
        process.stdout.close()
        assert process.stderr is not None
        process.stderr.close()


def _packet(line: str, unit: Fraction) -> Packet:
    """A line of ffmpeg's framecrc format: stream, dts, pts, duration, size, checksum, flags unless a mere key."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) < 6 or not fields[2].lstrip("-").isdecimal():
        raise Damaged
    flags = next((int(field[2:], 16) for field in fields[6:] if field.startswith("F=0x")), KEY)
    return Packet(_in_ticks(int(fields[2]), unit), flags, fields[0] == "1")


def _in_ticks(stamp: int, unit: Fraction) -> int:
    """To the nearest whole number, halves away from zero, as ffmpeg does. unit: in ticks."""
    size = (2 * abs(stamp) * unit.numerator + unit.denominator) // (2 * unit.denominator)
    return size if stamp >= 0 else -size
