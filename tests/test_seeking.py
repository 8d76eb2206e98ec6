"""Whatever is skipped, and however: the frames are those of reading everything from the beginning."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from shared_data import ROOT
from video_fixtures import make_image, make_video

from ttt_cli.core.errors import PartialInput
from ttt_cli.core.frame import Frame
from ttt_cli.video import ffmpeg, index, video_file
from ttt_cli.video.reader import open_video
from ttt_cli.video.transforms import for_model


class Seen(NamedTuple):
    """What is known of a frame."""

    index: int
    name: str
    seconds: float
    pixels: bytes
    """A checksum."""


def seen(frames: Iterator[Frame]) -> list[Seen]:
    return [
        Seen(frame.index, frame.name, frame.seconds, hashlib.sha256(frame.image.numpy()).digest()) for frame in frames
    ]


@cache
def everything(path: Path) -> list[Seen]:
    """All frames, read one after the other from the beginning."""
    return seen(open_video(path).frames())


SEEKABLE = {
    "x264.mp4": ["-g", "12"],
    "x264.mkv": ["-g", "12"],
    "fragments.mp4": ["-g", "12", "-movflags", "frag_keyframe+empty_moov"],
    "sparse.mov": ["-g", "12", "-vf", "select=not(mod(n\\,3))+lt(n\\,9)", "-fps_mode", "vfr"],
    "interlaced.mp4": ["-g", "12", "-flags", "+ildct+ilme", "-x264opts", "tff=1"],
    "late.mp4": ["-g", "12", "-output_ts_offset", "3.123"],
    "x265.mp4": ["-c:v", "libx265", "-g", "12", "-x265-params", "open-gop=0:log-level=none"],
    "x265.mkv": ["-c:v", "libx265", "-g", "12", "-x265-params", "open-gop=0:log-level=none"],
}
"""Files in which decoding begins at a keyframe, and how to make them."""
NOT_SEEKABLE = {
    "open.mp4": ["-g", "12", "-x264-params", "open-gop=1"],
    "open265.mp4": ["-c:v", "libx265", "-g", "12", "-x265-params", "open-gop=1:log-level=none"],
    "refreshed.mp4": ["-g", "12", "-x264-params", "intra-refresh=1"],
    "x264.ts": ["-g", "12"],
    "x264.h264": ["-g", "12"],
    "x264.flv": ["-g", "12"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-g", "12", "-deadline", "realtime", "-cpu-used", "8"],
    "alternate.webm": [
        "-c:v",
        "libvpx-vp9",
        "-g",
        "12",
        "-auto-alt-ref",
        "1",
        "-lag-in-frames",
        "10",
        "-cpu-used",
        "5",
    ],
    "av1.mkv": ["-c:v", "libsvtav1", "-g", "12", "-preset", "12"],
    "av1.mp4": ["-c:v", "libsvtav1", "-g", "12", "-preset", "12"],
    "mpeg2.ts": ["-c:v", "mpeg2video", "-bf", "2", "-g", "12"],
    "mpeg2.mkv": ["-c:v", "mpeg2video", "-bf", "2", "-g", "12"],
    "mpeg4.avi": ["-c:v", "mpeg4", "-bf", "2", "-g", "12"],
    "mpeg4.mp4": ["-c:v", "mpeg4", "-bf", "2", "-g", "12"],
    "vp8.webm": ["-c:v", "libvpx", "-g", "12", "-auto-alt-ref", "1", "-lag-in-frames", "10"],
    "mjpeg.avi": ["-c:v", "mjpeg", "-strict", "unofficial"],
    "wmv.wmv": ["-c:v", "wmv2", "-g", "12"],
    "loop.gif": [],
}
"""Files that are read from the beginning: time stamps, positions or pixels are not certain to be the same."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A file of the tables above, six seconds of 15 frames a second with sound where it can be."""
    folder = tmp_path_factory.mktemp("codecs")

    def file(name: str) -> Path:
        path = folder / name
        if not path.exists():
            options = {**SEEKABLE, **NOT_SEEKABLE}[name]
            sound = path.suffix in (".mp4", ".mkv", ".ts")
            pixels = PIXELS.get(path.suffix, "yuv420p")
            try:
                make_video(path, *options, "-pix_fmt", pixels, seconds=6, rate="15", sound=sound)
            except AssertionError as error:
                if "Unknown encoder" in str(error):
                    pytest.skip(f"this ffmpeg cannot make {name}")
                raise
        return path

    return file


PIXELS = {".gif": "rgb8"}


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The positions at which decoding began, other than the beginning."""
    found: list[int] = []

    def find(*arguments: object) -> index.Destination | None:
        destination = index.find(*arguments)  # type: ignore[arg-type]
        if destination is not None:
            found.append(destination.entry.index)
        return destination

    monkeypatch.setattr(video_file, "find", find)
    return found


def check_all(path: Path, selections: list[tuple[float, int, int]]) -> None:
    """Compares selections (start in seconds, stride, frames skipped) with what is selected of everything."""
    for start, stride, skipped in selections:
        wanted = [frame for frame in everything(path) if frame.seconds >= start - 1e-6][::stride]
        if wanted[skipped:]:
            video = open_video(path, start_seconds=start, stride=stride)
            assert seen(video.frames_from(skipped)) == wanted[skipped:], (path.name, start, stride, skipped)


SELECTIONS = [(0, 4, 0), (0, 3, 9), (1.2, 1, 0), (3.4, 3, 0), (2.9, 2, 14)]


@pytest.mark.parametrize("name", SEEKABLE)
def test_decoding_begins_at_a_keyframe(
    made: Callable[[str], Path], entered: list[int], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level("INFO", "ttt_cli.video")
    check_all(made(name), SELECTIONS)
    assert len(entered) >= 3 and min(entered) >= 12, "nothing was gained"
    assert not caplog.records, "what was found was of no use"


@pytest.mark.parametrize("name", NOT_SEEKABLE)
def test_others_are_read_from_the_beginning(made: Callable[[str], Path], entered: list[int], name: str) -> None:
    check_all(made(name), SELECTIONS)
    assert not entered


def test_an_edit_list(made: Callable[[str], Path], entered: list[int], tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    source = ffmpeg.file_url(made("x264.mp4"))
    code, messages = ffmpeg.run(["-ss", "1.5", "-i", source, "-c", "copy", ffmpeg.file_url(path)])
    assert code == 0, messages
    assert len(everything(path)) < len(everything(made("x264.mp4"))) - 20
    check_all(path, SELECTIONS)
    assert entered


@pytest.mark.parametrize("changed", ["320x200", "64x48"])
def test_a_change_of_size_midway(tmp_path: Path, changed: str, caplog: pytest.LogCaptureFixture) -> None:
    """ffmpeg then counts its frames anew, so its filters choose others than they should."""
    caplog.set_level("INFO", "ttt_cli.video")
    parts = [make_video(tmp_path / f"{size}.ts", seconds=2.3, size=size) for size in ("64x48", changed)]
    path = tmp_path / "both.ts"
    path.write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
    check_all(path, [(0, 4, 0), (0, 4, 8), (1.1, 3, 2)])
    assert bool(caplog.records) == (changed != "64x48")


@pytest.mark.parametrize("name", ["x264.mp4", "x265.mkv"])
@pytest.mark.parametrize("length", [1, 30, 400])
def test_damage_before_the_start(made: Callable[[str], Path], tmp_path: Path, name: str, length: int) -> None:
    """Whether a frame is mended or dropped, those after it keep their positions."""
    whole = made(name).read_bytes()
    random = Random(length)
    for number in range(3):
        content = bytearray(whole)
        place = random.randrange(len(whole) // 10, len(whole) // 2)
        content[place : place + length] = random.randbytes(length)
        path = tmp_path / f"{number}{made(name).suffix}"
        path.write_bytes(content)
        check_all(path, [(4.3, 1, 0)])


def test_frames_that_are_skipped_count_where_the_file_breaks_off(tmp_path: Path) -> None:
    options = ("-pix_fmt", "yuv420p", "-g", "10", "-movflags", "+faststart")
    path = make_video(tmp_path / "a.mp4", *options, seconds=4, size="160x120", sound=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    said = []
    for skipped in (0, 4):
        with pytest.raises(PartialInput) as error:
            seen(open_video(path, stride=2).frames_from(skipped))
        said.append(str(error.value))
    assert said[0] == said[1]


def test_pictures_that_are_skipped_are_not_opened(tmp_path: Path) -> None:
    for number in range(6):
        make_image(tmp_path / f"{number}.png", value=number)
    (tmp_path / "1.png").write_text("no picture")
    video = open_video(tmp_path, start_seconds=0.1, stride=2)
    assert [frame.index for frame in video.frames_from(1)] == [3, 5]


def test_changed_videos_skip_too_and_replaced_frames_are_counted(
    made: Callable[[str], Path], entered: list[int]
) -> None:
    video = for_model(open_video(made("x264.mp4")), 32, lambda image: image)
    assert [frame.index for frame in islice(video.frames_from(40), 2)] == [40, 41] and entered
    replaced = dataclasses.replace(video, frames=lambda: iter(list(video.frames())[:50]))
    assert [frame.index for frame in replaced.frames_from(48)] == [48, 49]


EMPTY = (
    "README.md",
    "small_AudioVideoInterleave.avi",
    "small_FlashVideo.flv",
    "small_Mpeg4.mp4",
    "small_WindowsMediaVideo.wmv",
)


def shared_videos() -> list[Path]:
    folders = (ROOT / "data" / "broken_videos", ROOT / "data" / "clips")
    return sorted(path for folder in folders if folder.is_dir() for path in folder.iterdir() if path.name not in EMPTY)


@pytest.mark.parametrize("path", shared_videos(), ids=lambda path: path.name)
def test_real_files(path: Path) -> None:
    last = everything(path)[-1]
    check_all(path, [(0.3 * last.seconds, 2, 0), (0.8 * last.seconds, 1, 0), (0, 4, max(0, last.index // 4 - 3))])
