from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from shared_data import shared
from video_fixtures import describe, make_video

from ttt_cli.core.errors import PartialInput, TttvError
from ttt_cli.video.reader import open_video
from ttt_cli.video.writer import VideoWriter

RATE = Fraction(10)
SIZE = (48, 64)


def picture(number: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A smooth picture, uint8 (H, W, 3), whose brightness encodes `number`."""
    ramp = np.linspace(0, 60, size[0] * size[1]).reshape(*size, 1)
    image: np.ndarray = (ramp + 10 * (number % 18) + np.array([0, 5, 10])).astype(np.uint8)
    return image


def write(
    path: Path, count: int = 10, size: tuple[int, int] = SIZE, fps: Fraction = RATE, **options: object
) -> VideoWriter:
    with (
        TemporaryDirectory(dir=path.parents[1]) as pieces,
        VideoWriter(path, fps, size, **{"folder": Path(pieces), **options}) as writer,  # type: ignore[arg-type]
    ):
        for number in range(count):
            writer.write(picture(number, size))
    return writer


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", 12, fps=Fraction(30000, 1001))
    video = open_video(tmp_path / "a.mp4")
    assert (video.fps, video.size, video.length) == (Fraction(30000, 1001), SIZE, 12)
    for frame in video.frames():
        expected = picture(frame.index).astype(int)
        assert np.abs(frame.image.permute(1, 2, 0).numpy() - expected).mean() < 3
    description = describe(tmp_path / "a.mp4")
    assert "h264" in description and "yuv420p(tv, bt709" in description
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"], "no temporary file is left"


def test_index_is_at_the_front(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("size", [(47, 63), (48, 63), (1, 1), (3, 50)])
def test_odd_sizes_repeat_the_last_row_and_column(tmp_path: Path, size: tuple[int, int]) -> None:
    write(tmp_path / "a.mp4", 3, size)
    frame = next(open_video(tmp_path / "a.mp4").frames()).image.permute(1, 2, 0).numpy().astype(int)
    assert frame.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert np.abs(frame[: size[0], : size[1]] - picture(0, size)).mean() < 8


@pytest.mark.parametrize(
    ("name", "codec", "kept"), [("a.mp4", "aac", "aac"), ("a.mkv", "mp3", "mp3"), ("a.webm", "libopus", "aac")]
)
def test_sound_is_kept(tmp_path: Path, name: str, codec: str, kept: str) -> None:
    video_codec = "libvpx" if name.endswith("webm") else "libx264"
    source = make_video(tmp_path / name, "-c:v", video_codec, "-c:a", codec, seconds=2, sound=True)
    writer = write(tmp_path / "out.mp4", 20, audio_from=source)
    assert writer.audio_note is None
    description = describe(tmp_path / "out.mp4")
    assert re.search(f"Audio: {kept}", description) and re.search(r"Duration: 00:00:0(1\.9|2\.0)", description)


def test_sound_is_cut_to_the_picture(tmp_path: Path) -> None:
    """The source is silent for two seconds and then loud, so sound that starts at second 2 must be loud at once."""
    tone = ("-f", "lavfi", "-i", "aevalsrc='if(gte(t,2),sin(2000*t),0)':d=4", "-c:a", "aac", "-pix_fmt", "yuv420p")
    source = make_video(tmp_path / "a.mp4", *tone, seconds=4)
    volumes = []
    for start in (0.0, 2.0):
        write(tmp_path / "out.mp4", 10, audio_from=source, start_seconds=start)
        volumes.append(_volume(tmp_path / "out.mp4"))
        assert re.search(r"Duration: 00:00:(00\.9|01\.0)", describe(tmp_path / "out.mp4"))
    assert volumes[0] < -60 and volumes[1] > -10


def _volume(path: Path) -> float:
    from ttt_cli.video import ffmpeg

    arguments = ["-i", ffmpeg.file_url(path), "-af", "volumedetect", "-vn", "-f", "null", "-"]
    match = re.search(r"mean_volume: (\S+) dB", ffmpeg.run(arguments)[1])
    assert match
    return float(match[1])


def test_source_without_sound_needs_no_note(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4")
    assert write(tmp_path / "out.mp4", audio_from=source).audio_note is None
    assert "Audio" not in describe(tmp_path / "out.mp4")


def test_failing_sound_does_not_cost_the_picture(tmp_path: Path) -> None:
    source = shared("data/broken_videos/moviepy_video_with_failing_audio.mp4")
    write(tmp_path / "out.mp4", 20, audio_from=source)
    assert open_video(tmp_path / "out.mp4").length in (20, 21)


def test_sound_that_cannot_be_joined_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_video(tmp_path / "a.mp4", sound=True)
    joining = VideoWriter._joining

    def fails_with_sound(writer: VideoWriter, more_input: list[str], more_output: list[str]) -> list[str]:
        return joining(writer, more_input, [*more_output, *(["-c:a", "absent"] if more_input else [])])

    monkeypatch.setattr(VideoWriter, "_joining", fails_with_sound)
    writer = write(tmp_path / "out.mp4", audio_from=source)
    assert writer.audio_note is not None and writer.audio_note.startswith("the sound was left out")
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path / 'out.mp4'}: {writer.audio_note}"]
    assert len(list(open_video(tmp_path / "out.mp4").frames())) == 10


@pytest.mark.parametrize("error", [KeyboardInterrupt(), PartialInput("broke off", 5, "cut"), TttvError("stop")])
def test_interrupted_file_is_finished(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), VideoWriter(tmp_path / "a.mp4", RATE, SIZE, folder=tmp_path) as writer:
        for number in range(5):
            writer.write(picture(number))
        raise error
    assert len(list(open_video(tmp_path / "a.mp4").frames())) == 5


def test_crash_leaves_the_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("old")
    (tmp_path / "pieces").mkdir()
    writer = VideoWriter(tmp_path / "a.mp4", RATE, SIZE, folder=tmp_path / "pieces")
    with pytest.raises(ZeroDivisionError), writer:
        writer.write(picture())
        raise ZeroDivisionError
    assert (tmp_path / "a.mp4").read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "pieces"]


def test_without_frames_there_is_no_file(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", 0)
    assert list(tmp_path.iterdir()) == []


def test_wrong_frames_are_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="uint8"),
        VideoWriter(tmp_path / "a.mp4", RATE, SIZE, folder=tmp_path) as writer,
    ):
        writer.write(picture(0, (10, 10)))


def test_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(TttvError, match=r"missing.a\.mp4: cannot be (written|replaced)"):
        write(tmp_path / "missing" / "a.mp4")
    with pytest.raises(TttvError, match=r"a\.mp4: cannot be written"):
        write(tmp_path / "a.mp4", folder=tmp_path / "missing")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_device_is_refused_and_stays() -> None:
    with pytest.raises(TttvError, match="/dev/full: is not a regular file"):
        write(Path("/dev/full"))
    assert not Path("/dev/full").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("count", [1, 300])
def test_full_disk(tmp_path: Path, count: int) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", RATE, (480, 640), folder=tmp_path)
    (tmp_path / f"piece-000000-{os.getpid()}.mp4").symlink_to("/dev/full")
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with pytest.raises(TttvError, match=r"a\.mp4: cannot be written: the disk is full"), writer:
        for _ in range(count):
            writer.write(noise)
    assert not (tmp_path / "a.mp4").exists()


def test_pieces_make_one_video(tmp_path: Path) -> None:
    """Whether a writer wrote them all, or another one goes on after its first pieces."""
    (tmp_path / "pieces").mkdir()
    rate = Fraction(24000, 1001)
    write(tmp_path / "a.mp4", 25, fps=rate, folder=tmp_path / "pieces", piece_frames=10)
    assert len(list((tmp_path / "pieces").glob("piece-*.mp4"))) == 3
    whole = list(open_video(tmp_path / "a.mp4").frames())
    assert [frame.seconds for frame in whole] == pytest.approx([number / float(rate) for number in range(25)], abs=1e-4)

    (tmp_path / "b").mkdir()
    with (
        contextlib.suppress(ZeroDivisionError),
        VideoWriter(tmp_path / "b.mp4", rate, SIZE, folder=tmp_path / "b", piece_frames=10) as cut_off,
    ):
        for number in range(13):
            cut_off.write(picture(number))
        raise ZeroDivisionError
    assert not (tmp_path / "b.mp4").exists()
    assert len(list(open_video(tmp_path / "b" / cut_off.pieces[0]).frames())) == 10, "a piece plays by itself"
    with VideoWriter(
        tmp_path / "b.mp4", rate, SIZE, folder=tmp_path / "b", piece_frames=10, pieces=cut_off.pieces[:1]
    ) as resumed:
        for number in range(10, 25):
            resumed.write(picture(number))
    assert (resumed.frames_written, len(resumed.pieces)) == (25, 3)
    for frame, other in zip(whole, open_video(tmp_path / "b.mp4").frames(), strict=True):
        assert torch.equal(frame.image, other.image) and frame.seconds == other.seconds


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_in_the_terminal_finishes_the_file(tmp_path: Path) -> None:
    """SIGINT goes to the whole process group, as from a terminal."""
    script = (
        "import sys, time, numpy as np\n"
        "from pathlib import Path\nfrom fractions import Fraction\n"
        "from ttt_cli.video.writer import VideoWriter\n"
        "path = Path(sys.argv[1])\n"
        "with VideoWriter(path, Fraction(10), (48, 64), folder=path.parent) as writer:\n"
        "    for number in range(20): writer.write(np.zeros((48, 64, 3), np.uint8))\n"
        "    print('written', flush=True)\n"
        "    time.sleep(30)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "a.mp4")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None and process.stdout.readline() == b"written\n"
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=20)
    process.stdout.close()
    assert len(list(open_video(tmp_path / "a.mp4").frames())) == 20
