"""Decoding by decord, and with the help of hardware, where they do what ffmpeg alone does."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import error_of
from shared_data import shared
from video_fixtures import make_image, make_video

from ttt_cli.core.errors import PartialInput, UsageError
from ttt_cli.core.frame import Video
from ttt_cli.video import by_decord, ffmpeg
from ttt_cli.video.reader import open_video


def contents(video: Video, skipped: int = 0) -> list[tuple[int, str, float, bytes]]:
    return [
        (frame.index, frame.name, frame.seconds, hashlib.sha256(frame.image.numpy()).digest())
        for frame in video.frames_from(skipped)
    ]


@pytest.fixture
def decord() -> None:
    pytest.importorskip("decord", reason="decord2 is not installed")


@pytest.mark.usefixtures("decord")
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_decord_gives_the_same_frames(tmp_path: Path, suffix: str) -> None:
    path = make_video(tmp_path / f"a.{suffix}", "-g", "10", "-pix_fmt", "yuv420p", seconds=4, size="128x96")
    chosen: dict[str, object] = {"start_seconds": 1.1, "stride": 3, "max_frames": 7}
    for options, skipped in (({}, 0), (chosen, 0), (chosen, 4)):
        video, other = (open_video(path, reader=reader, **options) for reader in ("ffmpeg", "decord"))  # type: ignore[arg-type]
        assert (video.reader, other.reader, other.notes) == ("ffmpeg", "decord", ())
        assert [frame[:3] for frame in contents(video, skipped)] == [frame[:3] for frame in contents(other, skipped)]
        pairs = zip(video.frames(), other.frames(), strict=True)
        assert all((frame.image.int() - same.image).abs().float().mean() < 1 for frame, same in pairs)


@pytest.mark.usefixtures("decord")
def test_decord_is_refused_where_it_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_video(tmp_path / "whole.mp4", "-g", "10", "-pix_fmt", "yuv420p", seconds=4)
    cut = ["-ss", "1.55", "-i", ffmpeg.file_url(whole), "-c", "copy", ffmpeg.file_url(tmp_path / "cut.mp4")]
    assert ffmpeg.run(cut)[0] == 0
    damaged = bytearray(whole.read_bytes())
    damaged[len(damaged) // 3 : len(damaged) // 3 + 2000] = bytes(2000)
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    make_video(tmp_path / "stream.ts", "-pix_fmt", "yuv420p")
    make_video(tmp_path / "dot.mp4", "-vf", "crop=1:1:exact=1,format=yuv444p")
    reasons = {
        "cut.mp4": "edit list",
        "damaged.mp4": "is damaged",
        "stream.ts": "in mpegts",
        "dot.mp4": "shape",
    }
    for name, reason in reasons.items():
        video, usual = (open_video(tmp_path / name, reader=reader) for reader in ("decord", "ffmpeg"))  # type: ignore[arg-type]
        assert video.reader == "ffmpeg" and len(video.notes) == 1, name
        assert "ffmpeg reads, since decord may not" in video.notes[0] and reason in video.notes[0], name
        assert contents(video) == contents(usual)
    monkeypatch.setattr(by_decord, "MOST_MEBIBYTES", 0.1)
    (note,) = open_video(whole, reader="decord").notes
    assert "it would hold" in note


@pytest.mark.usefixtures("decord")
def test_decord_agrees_with_real_files(odd_files: list[Path]) -> None:
    """Each is read right or refused."""
    read = 0
    for path in odd_files:
        video = open_video(path, reader="decord", max_frames=20)
        usual = open_video(path, max_frames=20)
        for frame, other in zip(usual.frames(), video.frames(), strict=True):
            assert (frame.index, frame.seconds) == (other.index, other.seconds), path.name
            assert (frame.image.int() - other.image).abs().float().mean() < 2, path.name
        read += video.reader == "decord"
    assert read >= 10


@pytest.fixture
def odd_files() -> list[Path]:
    """Real files, of which most are odd."""
    names = ("small_Mpeg4.mp4", "moviepy_smpte-2997.mp4")
    folders = (shared("data/broken_videos"), shared("data/clips"))
    paths = sorted(path for folder in folders for path in folder.iterdir())
    return [path for path in paths if path.suffix not in (".md", ".avi", ".flv", ".wmv") and path.name not in names]


@pytest.mark.usefixtures("decord")
def test_decord_that_fails_midway_is_partial_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import decord as library

    path = make_video(tmp_path / "a.mp4")
    video = open_video(path, reader="decord")
    usual, calls = library.VideoReader.next, []

    def failing(reader: object) -> object:
        calls.append(reader)
        if len(calls) > 5:
            raise library.DECORDError("the decoder is gone\nat line 7")
        return usual(reader)

    monkeypatch.setattr(library.VideoReader, "next", failing)
    with pytest.raises(PartialInput, match="broke off after 5 frames .*the decoder is gone") as error:
        contents(video)
    assert "line 7" not in str(error.value)


def test_a_missing_decord_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    path = make_video(tmp_path / "a.mp4")
    with pytest.raises(UsageError, match="decord is not installed: python -m pip install decord2"):
        open_video(path, reader="decord")
    assert open_video(make_image(tmp_path / "a.png"), reader="decord").reader == "pillow"


@pytest.mark.usefixtures("decord")
def test_the_reader_is_on_record(segment: Callable[..., int], clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment(clip, "--reader", "decord", "--max-frames", 2, "--out", "a") == 0
    assert segment(clip, "--max-frames", 2, "--out", "b") == 0
    make_video(Path("odd.ts"), "-pix_fmt", "yuv420p")
    assert segment("odd.ts", "--reader", "decord", "--max-frames", 2, "--out", "c") == 0
    assert "decord may not" in capsys.readouterr().err
    reports = [json.loads(Path(name, "run.json").read_text()) for name in "abc"]
    assert [report["reader"] for report in reports] == ["decord", "ffmpeg", "ffmpeg"]
    assert [len(report["warnings"]) for report in reports] == [0, 0, 1]


def test_an_unknown_hwaccel(segment: Callable[..., int], clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment(clip, "--hwaccel", "steam") == 2
    error = error_of(capsys)
    assert "'steam' is not known to this ffmpeg; it knows: auto, " in error


def test_the_cpu_decodes_where_hardware_does_not(tmp_path: Path) -> None:
    """Whichever this ffmpeg knows: it decodes the same frames, or a note says that it did not."""
    path = make_video(tmp_path / "a.mp4", "-g", "5", "-pix_fmt", "yuv420p")
    usual = contents(open_video(path, start_seconds=0.6))
    for name in ffmpeg.hwaccels():
        video = open_video(path, hwaccel=name, start_seconds=0.6)
        assert [frame[:3] for frame in contents(video)] == [frame[:3] for frame in usual]
        if video.notes:
            assert f"the CPU decodes, since hwaccel {name} does not work" in video.notes[0]
            assert contents(video) == usual


def test_hwaccel_reaches_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mp4", "-g", "5", "-pix_fmt", "yuv420p")
    (name,) = ffmpeg.hwaccels()[1:2]
    started: list[list[str]] = []
    usual = ffmpeg.start

    def start(arguments: list[str], **options: int) -> subprocess.Popen[bytes]:
        """As on a machine where the hardware is there: decodes on the CPU all the same."""
        started.append(arguments)
        place = arguments.index("-hwaccel") if "-hwaccel" in arguments else len(arguments)
        return usual([*arguments[:place], *arguments[place + 2 :]], **options)

    monkeypatch.setattr(ffmpeg, "start", start)
    video = open_video(path, hwaccel=name)
    started.clear()
    assert len(contents(video)) == 10 and not video.notes
    assert started[0][started[0].index("-hwaccel") + 1] == name
    assert started[0].index("-hwaccel") < started[0].index("-i")
