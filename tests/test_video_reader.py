from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shared_data import shared
from video_fixtures import make_image, make_video

from ttt_cli.core.errors import PartialInput, TttvError, UsageError
from ttt_cli.core.frame import Frame
from ttt_cli.video import ffmpeg
from ttt_cli.video.reader import open_video
from ttt_cli.video.threads import Stopwatch, prefetch

NO_FRAME = "holds no frame"
BROKEN_VIDEOS: list[tuple[str, int | str, tuple[int, int]]] = [  # name, frames or error, (height, width)
    ("decord_corrupted.mp4", 49, (720, 1280)),
    ("decord_unordered.mov", 4, (50, 50)),
    ("decord_video_0.mov", 3, (320, 568)),
    ("decord_video_180.mov", 3, (320, 568)),
    ("decord_video_270.mov", 3, (568, 320)),
    ("decord_video_90.mov", 3, (568, 320)),
    ("imageio_realshort.mp4", 36, (240, 320)),
    ("moviepy_big_buck_bunny_432_433.webm", 24, (720, 1280)),
    ("moviepy_bitmap.mp4", 5, (1, 1)),
    ("moviepy_no_duration.webm", 74, (720, 1280)),
    ("moviepy_pigs_in_a_polka.gif", 30, (273, 314)),
    ("moviepy_smpte-2997.mp4", 251, (1080, 1920)),
    ("moviepy_transparent.webm", 150, (200, 200)),
    ("moviepy_video_with_failing_audio.mp4", 280, (360, 640)),
    ("newtonscradle.gif", 36, (150, 200)),
    ("small_AudioVideoInterleave.avi", NO_FRAME, (0, 0)),
    ("small_FlashVideo.flv", NO_FRAME, (0, 0)),
    ("small_Mpeg4.mp4", NO_FRAME, (0, 0)),
    ("small_WindowsMediaVideo.wmv", NO_FRAME, (0, 0)),
    ("small_gif-transparent.gif", 1, (1, 1)),
    ("small_webm.webm", 1, (8, 8)),
    ("torchcodec_av1_video.mkv", 125, (360, 640)),
    ("torchcodec_bt709_full_range.mp4", 30, (720, 1280)),
    ("torchcodec_h264_10bits.mp4", 30, (200, 200)),
    ("torchcodec_h265_10bits.mp4", 30, (200, 200)),
    ("torchcodec_h265_video.mp4", 10, (128, 128)),
    ("torchcodec_nasa_13013.mp4", 390, (270, 480)),
]


def frames_of(source: str | Path, **options: object) -> list[Frame]:
    return list(open_video(source, **options).frames())  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "expected", "size"), BROKEN_VIDEOS, ids=[row[0] for row in BROKEN_VIDEOS])
def test_broken_videos(name: str, expected: int | str, size: tuple[int, int]) -> None:
    path = shared(f"data/broken_videos/{name}")
    if isinstance(expected, str):
        with pytest.raises(TttvError, match=expected) as error:
            open_video(path)
        assert name in str(error.value) and "\n" not in str(error.value)
        return
    video = open_video(path)
    assert video.size == size
    count, last = 0, -1.0
    for frame in video.frames():
        assert frame.image.shape == (3, *size) and frame.image.dtype == torch.uint8 and frame.image.is_contiguous()
        assert frame.index == count and frame.name == f"{count:06d}"
        assert frame.seconds > last
        count, last = count + 1, frame.seconds
    assert count == expected
    assert video.length is None or expected == 1 or abs(video.length - expected) <= 1


def test_every_broken_video_is_in_the_table() -> None:
    names = {path.name for path in shared("data/broken_videos").iterdir() if path.suffix != ".md"}
    assert names == {row[0] for row in BROKEN_VIDEOS}


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotated_video_comes_out_upright(angle: int) -> None:
    plain, turned = (
        next(open_video(shared(f"data/broken_videos/decord_video_{a}.mov")).frames()).image.float() for a in (0, angle)
    )
    if plain.shape != turned.shape:  # These were filmed in the other format: only their shape can be compared.
        assert turned.shape == (3, plain.shape[2], plain.shape[1])
    else:
        assert (plain - turned).abs().mean() < (plain - turned.flip(1, 2)).abs().mean()


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_rotation_tag_turns_the_picture(tmp_path: Path, angle: int) -> None:
    plain = make_video(tmp_path / "plain.mp4", "-qp", "0", "-pix_fmt", "yuv420p", seconds=0.2)
    tagged = tmp_path / "tagged.mp4"
    ffmpeg.run(["-display_rotation", str(angle), "-i", ffmpeg.file_url(plain), "-c", "copy", ffmpeg.file_url(tagged)])
    upright = torch.rot90(frames_of(plain)[0].image, angle // 90, (1, 2))
    found = open_video(tagged)
    assert found.size == tuple(upright.shape[1:])
    # Chroma is interpolated in another direction, so a few pixels differ a little.
    assert (next(found.frames()).image.float() - upright.float()).abs().mean() < 4


def test_time_stamps_of_a_variable_rate_are_real(tmp_path: Path) -> None:
    options = (
        "-vf",
        "settb=1/1000,setpts=round(N*(N+1)/20/TB)",
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1:1000",
    )
    frames = frames_of(make_video(tmp_path / "a.mp4", *options, "-pix_fmt", "yuv420p", seconds=0.6))
    assert [frame.seconds for frame in frames] == pytest.approx([n * (n + 1) / 20 for n in range(6)], abs=0.002)


def test_rate_is_exact_and_divided_by_the_stride(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", rate="30000/1001")
    video = open_video(path, stride=3)
    assert video.fps == Fraction(10000, 1001)
    assert [frame.index for frame in video.frames()] == list(range(0, 30, 3))
    assert video.length == 10


def test_start_end_and_most_frames(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=2)
    video = open_video(path, start_seconds=0.5, end_seconds=1.5, stride=2, max_frames=4)
    frames = list(video.frames())
    assert [frame.index for frame in frames] == [5, 7, 9, 11] and video.length == 4
    assert frames[0].seconds == pytest.approx(0.5)
    assert torch.equal(frames[0].image, frames_of(path)[5].image)
    assert [f.index for f in video.frames()] == [5, 7, 9, 11], "a video can be walked again"


@pytest.mark.parametrize("size", ["2x34", "48x32", "50x50", "66x38"])
def test_narrow_videos(tmp_path: Path, size: str) -> None:
    width, height = map(int, size.split("x"))
    frames = frames_of(make_video(tmp_path / "a.mp4", size=size))
    assert len(frames) == 10 and frames[0].image.shape == (3, height, width)


def test_colors_are_right(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    make_video(path, "-vf", "drawbox=color=red:t=fill", "-pix_fmt", "yuv444p", "-qp", "0")
    assert (frames_of(path)[0].image[:, 24, 32].int() - torch.tensor([255, 0, 0])).abs().max() <= 3


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_truncated_file_gives_its_frames_and_then_partial_input(tmp_path: Path, suffix: str) -> None:
    options = ("-pix_fmt", "yuv420p", "-g", "10", "-movflags", "+faststart")
    path = make_video(tmp_path / f"a.{suffix}", *options, seconds=4, size="160x120", sound=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = open_video(path)
    read: list[Frame] = []
    with pytest.raises(PartialInput, match=f"a.{suffix}: broke off after") as error:
        for frame in video.frames():
            read.append(frame)
    assert 5 < len(read) < 35 and error.value.frames_read == len(read) and error.value.reason


def test_picture_shorter_than_the_sound_is_whole(tmp_path: Path) -> None:
    sound = ("-f", "lavfi", "-i", "sine=d=5", "-pix_fmt", "yuv420p")
    path = make_video(tmp_path / "a.mp4", *sound, seconds=1)
    assert len(frames_of(path)) == 10


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
@pytest.mark.parametrize(
    "name", ["http:x.mp4", "concat:a|b.mp4", "-i.mp4", "a%03d.mp4", "\x1b[31mred\nline.mp4", "[a]*.mp4"]
)
def test_strange_names_are_just_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make_video(tmp_path / "plain.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(frames_of(name)) == 10


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[31mred\n.mp4"
    path.write_text("hello")
    with pytest.raises(TttvError) as error:
        open_video(path)
    assert str(error.value).isprintable() and "\\x1b[31mred\\n.mp4" in str(error.value)


def test_a_playlist_cannot_open_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile 'http://localhost:1/a.mp4'\n")
    with pytest.raises(TttvError, match=r"a\.mp4: is text"):
        open_video(tmp_path / "a.mp4")


def test_files_that_are_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello, world\n" * 50)
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 50)
    (tmp_path / "folder").mkdir()
    make_video(tmp_path / "sound.m4a", "-vn", sound=True)
    cases = {
        "missing.mp4": "no such file",
        "empty.mp4": "is empty",
        "text.mp4": "is text",
        "noise.mp4": NO_FRAME,
        "sound.m4a": "sound but no picture",
        "folder": "no image files",
        "*.png": "no image file matches",
        "a\0b": "no such file",
    }
    for name, cause in cases.items():
        with pytest.raises(TttvError, match=cause) as error:
            open_video(tmp_path / name)
        assert str(error.value).isprintable(), name


def test_device_files_are_refused() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("there is no /dev/zero here")
    with pytest.raises(TttvError, match="neither a file nor a folder"):
        open_video("/dev/zero")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_image(tmp_path / "a.mp4.png").rename(tmp_path / "a.mp4")

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # Tests may run as root, who may read everything.
    with pytest.raises(TttvError, match="Permission denied"):
        open_video(path)


@pytest.mark.parametrize(
    "options",
    [
        {"start_seconds": -1.0},
        {"start_seconds": float("nan")},
        {"start_seconds": 2.0, "end_seconds": 1.0},
        {"stride": 0},
        {"max_frames": 0},
        {"fps": Fraction(0)},
    ],
)
def test_senseless_values(tmp_path: Path, options: dict[str, object]) -> None:
    make_image(tmp_path / "a.png")
    with pytest.raises(UsageError):
        frames_of(tmp_path, **options)


def test_start_after_the_end(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    with pytest.raises(TttvError, match="ends at 1.00 s"):
        open_video(path, start_seconds=30)
    with pytest.raises(TttvError, match="no frame from 0.99 s on"):
        frames_of(path, start_seconds=0.99)


def test_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        make_image(tmp_path / f"frame{number}.png", value=number)
    (tmp_path / "._frame1.png").write_text("left by macOS")
    (tmp_path / "notes.txt").write_text("no image")
    video = open_video(tmp_path)
    frames = list(video.frames())
    assert [frame.name for frame in frames] == ["frame1", "frame2", "frame10"]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 10]
    assert [frame.seconds for frame in frames] == [0.0, 0.1, 0.2]
    assert (video.fps, video.size, video.length, video.name) == (Fraction(10), (6, 8), 3, tmp_path.name)
    assert open_video(tmp_path, fps=Fraction(15), stride=3).fps == 5


def test_glob_and_single_image(tmp_path: Path) -> None:
    for name in ("a1.png", "a2.png", "b.png"):
        make_image(tmp_path / name)
    assert [frame.name for frame in frames_of(tmp_path / "a*.png")] == ["a1", "a2"]
    assert [frame.name for frame in frames_of(tmp_path / "b.png")] == ["b"]


def test_folder_errors(tmp_path: Path) -> None:
    make_image(tmp_path / "1.png")
    make_image(tmp_path / "2.png", size=(9, 9))
    with pytest.raises(TttvError, match=r"2\.png: is 9x9, but the first frame is 8x6"):
        frames_of(tmp_path)
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:-30])
    with pytest.raises(PartialInput, match=r"2\.png: cannot be read") as error:
        frames_of(tmp_path)
    assert error.value.frames_read == 1
    make_image(tmp_path / "1.bmp")
    with pytest.raises(TttvError, match="two frames of one name"):
        open_video(tmp_path)


def test_kinds_of_images(tmp_path: Path) -> None:
    def pixel(image: Image.Image, name: str = "a.png", **options: object) -> tuple[int, int, int]:
        image.save(tmp_path / name, **options)  # type: ignore[arg-type]
        red, green, blue = frames_of(tmp_path / name)[0].image[:, 0, 0].tolist()
        return red, green, blue

    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert pixel(palette) == (10, 20, 30)
    assert pixel(Image.new("L", (4, 4), 77)) == (77, 77, 77)
    assert pixel(Image.new("1", (4, 4), 1)) == (255, 255, 255)
    assert pixel(Image.new("RGBA", (4, 4), (200, 100, 50, 0))) == (0, 0, 0)
    assert pixel(Image.new("RGBA", (4, 4), (200, 100, 50, 255))) == (200, 100, 50)
    for suffix in ("png", "tif"):
        assert pixel(Image.fromarray(np.full((4, 4), 257 * 99, np.uint16)), f"b.{suffix}") == (99, 99, 99)
    assert pixel(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "c.tif") == (128, 128, 128)


def test_exif_rotation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert open_video(tmp_path).size == (8, 4)


def test_decompression_bomb_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_image(tmp_path / "a.png", size=(50, 50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(TttvError, match=r"a\.png: has more than 200 pixels"):
        open_video(tmp_path)


def test_prefetch_keeps_order_and_measures() -> None:
    def slow() -> Iterator[int]:
        for number in range(5):
            time.sleep(0.01)
            yield number

    stopwatch = Stopwatch()
    assert list(prefetch(slow(), 2, stopwatch)) == list(range(5))
    assert stopwatch.total_seconds > 0.04 and stopwatch.last_seconds > 0.005


def test_prefetch_hands_on_errors_after_the_items_before() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise PartialInput("broke off", 1, "cut")

    items = prefetch(failing(), 4)
    assert next(items) == 1
    with pytest.raises(PartialInput):
        next(items)


def test_prefetch_is_bounded_and_ends_its_thread_on_close() -> None:
    made = 0
    closed = threading.Event()

    def endless() -> Iterator[int]:
        nonlocal made
        try:
            while True:
                made += 1
                yield made
        finally:
            closed.set()

    items = prefetch(endless(), 3)
    assert next(items) == 1
    time.sleep(0.05)
    assert made <= 5  # One taken, three queued, one waiting for room.
    items.close()
    assert closed.is_set() and not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_closing_early_ends_ffmpeg(tmp_path: Path) -> None:
    frames = open_video(make_video(tmp_path / "a.mp4", seconds=20)).frames()
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert not any(thread.name == "ffmpeg messages" for thread in threading.enumerate())


def test_damage_that_is_read_over_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make_video(tmp_path / "a.mp4")
    assert len(frames_of(path)) == 10 and not caplog.records
    content = bytearray(path.read_bytes())
    middle = slice(int(len(content) * 0.3), int(len(content) * 0.5))
    content[middle] = bytes(middle.stop - middle.start)
    path.write_bytes(content)
    assert len(frames_of(path)) == 10
    assert 1 <= len(caplog.records) <= 3, "the first errors, at the end"
    assert all(record.getMessage().startswith(f"{path}: ffmpeg met an error") for record in caplog.records)


@pytest.mark.parametrize(
    ("start", "heard"), [("import ttt_cli", True), ("from ttt_cli.cli import main; main(['--version'])", False)]
)
def test_programs_hear_the_log_and_the_command_line_stays_quiet(start: str, heard: bool) -> None:
    code = f"import logging; {start}; logging.getLogger('ttt_cli.video').warning('a frame is damaged')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ("a frame is damaged" in said.stderr) == heard


def test_frames_that_an_edit_list_hides_do_not_count(tmp_path: Path) -> None:
    """Two frames are missing, so that the container states two rates."""
    options = ("-vf", "select=not(eq(n\\,33)+eq(n\\,44))", "-fps_mode", "vfr", "-g", "300", "-pix_fmt", "yuv420p")
    whole = make_video(tmp_path / "whole.mp4", *options, seconds=9, rate="30")
    source, path = ffmpeg.file_url(whole), tmp_path / "cut.mp4"
    code, messages = ffmpeg.run(["-ss", "1.8", "-i", source, "-c", "copy", ffmpeg.file_url(path)])
    assert code == 0, messages
    video = open_video(path)
    assert video.fps == 30 and video.length == 216 == len(list(video.frames()))
