"""Finds a video file's frame rate, size and length by decoding its first frame with ffmpeg."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.video import ffmpeg
from ttt_cli.video.messages import TICKS, reporting_stamps, stamps_in
from ttt_cli.video.packets import Damaged, shown_ticks

DEFAULT_RATE = Fraction(25)


@dataclass(frozen=True)
class Probe:
    """What is known about a video file before its frames are read."""

    fps: Fraction
    """Frames a second, on average."""
    size: tuple[int, int]
    """(height, width) after rotation."""
    seconds: float | None
    """Length; None if unknown."""
    first_tick: int | None
    """Time stamp of the first frame, in ticks (video/messages.py); None if it has none."""
    stream: str
    """ffmpeg's name of the video stream, such as `0:1`: the largest, if there are several."""
    container: str
    """ffmpeg's names of the format, such as `mov,mp4,m4a,3gp,3g2,mj2`."""
    codec: str
    """ffmpeg's name of the codec, such as `h264`."""
    hwaccel: str | None = None
    """What is to help ffmpeg to decode it, as in InputSettings."""


def probe(path: Path) -> Probe:
    """Probes a video file without reading all of it. Raises TttvError if no frame can be decoded."""
    # The filter `showinfo` prints the exact frame rate; the output line gives the size after rotation.
    arguments = ["-i", ffmpeg.file_url(path), "-an", "-sn", "-dn", "-vf", "showinfo=checksum=0", "-frames:v", "1"]
    arguments += ["-fps_mode", "passthrough", *reporting_stamps("first")]
    messages = ffmpeg.run(["-protocol_whitelist", "file", "-loglevel", "level+info", *arguments, "-f", "null", "-"])[1]
    lines = messages.splitlines()
    name, stream = stream_chosen(lines)
    size = size_of_output(messages)
    decoded = re.search(r"frame= *[1-9]", messages)
    container = re.search(r"\[info\] Input #0, (.*), from '", messages)
    codec = re.search(r": Video: (\w+)", stream)
    if size is None or decoded is None or "(attached pic)" in stream:
        raise TttvError(f"{printable(path)}: {_no_frame(path, messages)}")
    return Probe(
        fps=_rate(path, name, stream, lines),
        size=size,
        seconds=_clock(next((line for line in lines if line.startswith("[info]   Duration: ")), "")),
        first_tick=next(iter(stamps_in(messages, "first")), None),
        stream=name,
        container=container[1] if container else "",
        codec=codec[1] if codec else "",
    )


def demux(path: Path) -> tuple[int, float]:
    """The number of frames, and the length in seconds of the longest stream. Reads the whole file, decodes nothing."""
    arguments = ["-loglevel", "level+error", "-stats", "-i", ffmpeg.file_url(path), "-map", "0:v?", "-map", "0:a?"]
    messages = ffmpeg.run(["-protocol_whitelist", "file", *arguments, "-c", "copy", "-f", "null", "-"])[1]
    frames = re.findall(r"frame= *(\d+)", messages)
    last = next((line for line in reversed(messages.splitlines()) if " time=" in line), "")
    return int(frames[-1]) if frames else 0, _clock(last) or 0.0


def size_of_output(messages: str) -> tuple[int, int] | None:
    """(height, width) of what ffmpeg puts out, as it says itself; None if it has not said so."""
    size = re.search(r"\[info\] Output #0.*?: Video: .*?, (\d+)x(\d+)\b", messages, re.DOTALL)
    return None if size is None else (int(size[2]), int(size[1]))


def stream_chosen(lines: list[str]) -> tuple[str, str]:
    """Name and description of the video stream that ffmpeg picks by default: the largest. Empty if there is none."""
    mapping = next((match for line in lines if (match := re.match(r"\[info\] +Stream #(0:\d+) -> #0:0", line))), None)
    if mapping is None:
        return "", ""
    start = re.compile(rf"\[info\] +Stream #{mapping[1]}\D")
    return mapping[1], next((line for line in lines if start.match(line)), "")


def _rate(path: Path, name: str, stream: str, lines: list[str]) -> Fraction:
    """Frames a second. Containers state it twice, exact and averaged; if these disagree, the frames are counted."""
    exact = re.search(r"config in time_base: .* frame_rate: (\d+)/(\d+)$", "\n".join(lines), re.MULTILINE)
    stated = Fraction(int(exact[1]), int(exact[2])) if exact and int(exact[2]) else Fraction(0)
    average = re.search(r", ([\d.]+) fps", stream)
    if (
        stated and average and abs(float(stated) - float(average[1])) <= 0.01
    ):  # The average is printed with two decimals.
        return stated
    with suppress(Damaged):
        shown, some_hidden = shown_ticks(path, name)
        if some_hidden and len(shown) > 1 and shown[-1] > shown[0]:
            return Fraction((len(shown) - 1) * TICKS, shown[-1] - shown[0]).limit_denominator(1001)
    frames, seconds = demux(path)
    if frames > 1 and seconds > 0:
        return Fraction(frames / seconds).limit_denominator(1001)
    return DEFAULT_RATE


def _clock(line: str) -> float | None:
    """The first time in `line`, in seconds."""
    match = re.search(r"(\d+):(\d\d):(\d\d\.\d+)", line)
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None


def _no_frame(path: Path, messages: str) -> str:
    """Why no frame can be decoded, and what to do."""
    if re.search(r"Stream #0:\d+.*: Audio: ", messages):
        return "has sound but no picture; give a file with video in it"
    with path.open("rb") as file:
        start = file.read(4096)
    if b"\0" not in start and start.isascii():
        return "is text, not video; check the path"
    return f"holds no frame that can be decoded ({printable(ffmpeg.reason(messages))}); get a complete copy of the file"
