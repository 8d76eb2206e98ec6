"""`--out result.mp4`: a video where the user wants it, and the run folder beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CLIP_FRAMES, error_of
from video_fixtures import make_video

from ttt_cli.cli import main
from ttt_cli.video.reader import open_video

Capture = pytest.CaptureFixture[str]
FIXED = ("--method", "joint")


def frames_of(path: str) -> int:
    return len(list(open_video(path).frames()))


def test_the_video_is_there_and_the_folder_beside_it(segment: Callable[..., int], clip: Path, capsys: Capture) -> None:
    assert segment(clip, "-o", "new/result.mp4", *FIXED) == 0
    lines = capsys.readouterr().out.splitlines()
    assert str(Path("new/result.mp4")) in lines and str(Path("new/result/overlay.mp4")) in lines
    assert frames_of("new/result.mp4") == CLIP_FRAMES
    assert sorted(path.name for path in Path("new").iterdir()) == ["result", "result.mp4"]
    record = json.loads(Path("new/result/run.json").read_text())
    assert record["video_file"] == str(Path("new/result.mp4").absolute())

    assert segment(clip, "-o", "new/result.mp4", *FIXED) == 1
    assert "add --overwrite" in error_of(capsys)
    assert segment(clip, "-o", "new/result.mp4", *FIXED, "--overwrite", "--quiet", "--max-frames", 2) == 0
    assert capsys.readouterr().out == f"{Path('new/result.mp4')}\n"
    assert frames_of("new/result.mp4") == 2


def test_a_video_of_the_users_stays(segment: Callable[..., int], clip: Path, capsys: Capture) -> None:
    mine = Path("mine.mp4")
    mine.write_bytes(b"my holidays")
    for option in ((), ("--resume",)):
        assert segment(clip, "-o", mine, *FIXED, *option) == 1
        assert error_of(capsys).startswith("error: mine.mp4: exists; add --overwrite")
    assert mine.read_bytes() == b"my holidays" and [path.name for path in Path().iterdir()] == ["mine.mp4"]
    assert segment(clip, "-o", mine, *FIXED, "--overwrite") == 0
    assert frames_of("mine.mp4") == CLIP_FRAMES


def test_the_input_is_never_overwritten(segment: Callable[..., int], tmp_path: Path, capsys: Capture) -> None:
    video = make_video(tmp_path / "drive.mp4")
    content = video.read_bytes()
    assert segment(video, "-o", "drive.mp4", "--overwrite", *FIXED) == 1
    assert "drive.mp4: is the input" in error_of(capsys)
    assert video.read_bytes() == content


def test_what_makes_no_sense(segment: Callable[..., int], clip: Path, capsys: Capture) -> None:
    assert segment(clip, "-o", "a.mp4", "--no-overlay") == 2
    assert "--no-overlay writes none" in error_of(capsys)
    assert segment(clip, clip.with_name("b.mp4"), "-o", "a.mp4") == 2
    assert "there are many inputs" in error_of(capsys)
    assert list(Path().iterdir()) == []


def test_a_folder_of_such_a_name_is_a_folder(segment: Callable[..., int], clip: Path) -> None:
    Path("runs.mp4").mkdir()
    assert segment(clip, "-o", "runs.mp4", *FIXED) == 0
    assert Path("runs.mp4/overlay.mp4").is_file() and not Path("runs").exists()


def test_a_resumed_run_puts_its_video_there(
    segment: Callable[..., int], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run was interrupted after two frames, and its video is replaced by the whole one."""
    from ttt_cli.cli import _run

    settings = (*FIXED, "--set", "output.checkpoint_frames=1")
    after = _run._State.after

    def interrupted(state: _run._State, result: object) -> str:
        state.calls = getattr(state, "calls", 0) + 1  # type: ignore[attr-defined]
        if state.calls == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return after(state, result)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(_run._State, "after", interrupted)
        assert segment(clip, "-o", "result.mp4", *settings) == 130
    assert 0 < frames_of("result.mp4") < CLIP_FRAMES
    assert segment(clip, "-o", "result.mp4", *settings, "--resume") == 0
    assert frames_of("result.mp4") == CLIP_FRAMES
    assert json.loads(Path("result/run.json").read_text())["resumed_at"]
    assert main(["report", "result"]) == 0
