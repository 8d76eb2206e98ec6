"""`tttv bench`: what it says follows from what it measured, and it leaves nothing behind."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import CLIP_FRAMES, error_of, picture, save_frames

from ttt_cli.adaptation.settings import BUDGET
from ttt_cli.cli import main
from ttt_cli.run.bench_result import EVERY

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def bench(tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`tttv bench` with the tiny weights, in an empty folder, with temporary files in an empty folder beside it."""
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def call(*arguments: object) -> int:
        return main(["bench", "--weights", str(tiny_weights), "--device", "cpu", *map(str, arguments)])

    return call


def left_behind(tmp_path: Path) -> list[Path]:
    return [path for name in ("here", "temporary") for path in (tmp_path / name).iterdir()]


def json_of(capture: Capture) -> dict[str, Any]:
    """The only thing that was printed."""
    printed = capture.readouterr()
    assert printed.err == ""
    return dict(json.loads(printed.out))


@pytest.mark.parametrize("method", ["online", "align", "ln-adapt"])
def test_the_figures_follow_from_one_another(
    bench: Callable[..., int], clip: Path, tmp_path: Path, capsys: Capture, method: str
) -> None:
    assert bench(clip, "--method", method, "--frames", 4, "--json") == 0
    found = json_of(capsys)
    assert (found["method"], found["frames"], found["shortened"], found["reason"]) == (method, 4, False, None)
    assert (found["height"], found["width"], found["device"]) == (48, 64, "cpu")
    precisions = found["precision_milliseconds"]
    assert set(precisions) == {"fp32", "bf16", "fp16"}
    assert precisions[found["precision"]] == min(precisions.values())
    model, run = found["model_milliseconds"], found["run_milliseconds"]
    assert set(run["stages"]) == {"decode", "masks", "draw", "encode"}
    assert all(spent >= 0 for spent in run["stages"].values())
    assert model["fixed"] > 0
    assert model["step"] >= 0  # That of ln-adapt is lost in the noise.
    assert model["predict"] == model["fixed"]  # The same work, with other weights.
    assert found["step_over_predict"] == pytest.approx(model["step"] / model["predict"])
    for kind in ("fixed", "adapting"):
        assert found["frames_per_second"][kind] == pytest.approx(1000 / run[kind])
    assert [choice["every"] for choice in found["every"]] == list(EVERY)
    base = run["fixed"] + model["predict"] - model["fixed"]
    for choice in found["every"]:
        milliseconds = base + model["step_of_every"] / choice["every"]
        assert choice["frames_per_second"] == pytest.approx(1000 / milliseconds)
        assert choice["times_fixed"] == pytest.approx(milliseconds / run["fixed"])
    pause = found["within_budget"]["every"]
    assert pause in (1, 64) or (pause - 1) * (BUDGET - 1) < found["step_over_predict"] <= pause * (BUDGET - 1) + 1e-9
    assert not model["at_rest"]
    words = shlex.split(found["recommended"])
    every = found["recommended_every"]
    assert words[:3] == ["tttv", "segment", str(clip)]
    assert words[-4:] == ["--every", str(every), "--precision", found["precision"]]
    assert all(choice["times_fixed"] > BUDGET for choice in found["every"] if choice["every"] < every)
    assert left_behind(tmp_path) == []


def test_a_step_that_trains_costs_more_than_its_prediction_and_auto_seldom_looks(
    bench: Callable[..., int], clip: Path, capsys: Capture
) -> None:
    assert bench(clip, "--method", "online", "--frames", 2, "--json") == 0
    online = json_of(capsys)
    assert online["step_over_predict"] > 0.5
    assert online["model_milliseconds"]["step_of_every"] == online["model_milliseconds"]["step"]
    assert bench(clip, "--method", "auto", "--frames", 2, "--json") == 0
    auto = json_of(capsys)["model_milliseconds"]
    assert auto["step_of_every"] == pytest.approx(auto["step"] / 25)


def test_on_familiar_video_the_budget_is_recommended(
    bench: Callable[..., int], tmp_path: Path, capsys: Capture
) -> None:
    folder = save_frames([picture(seed) for seed in range(3)], tmp_path / "ordinary")  # As the model knows pictures.
    assert bench(folder, "--method", "align", "--frames", 2, "--json") == 0
    found = json_of(capsys)
    assert found["model_milliseconds"]["at_rest"]
    assert found["recommended_every"] is None
    assert f"--budget {BUDGET} --precision" in found["recommended"]


@pytest.mark.parametrize("method", ["joint", "clamp"])
def test_a_method_that_does_not_adapt_has_no_steps(
    bench: Callable[..., int], clip: Path, capsys: Capture, method: str
) -> None:
    assert bench(clip, "--method", method, "--frames", 3, "--json") == 0
    found = json_of(capsys)
    assert found["model_milliseconds"]["step"] is None
    assert (found["step_over_predict"], found["within_budget"], found["every"]) == (None, None, [])
    assert found["recommended_every"] is None
    assert "--every" not in found["recommended"]


def test_the_recommended_command_runs(bench: Callable[..., int], clip: Path, tmp_path: Path, capsys: Capture) -> None:
    assert bench(clip, "--method", "online", "--size", 40) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0].startswith(f"clip: {CLIP_FRAMES} frames of 64x48")
    for name in ("decode", "step, online", "encode", "--every", f"--budget {BUDGET}"):
        assert any(line.strip().startswith(name) for line in lines), name
    command = shlex.split(lines[-1])
    assert command[command.index("--size") + 1] == "40"
    assert main([*command[1:], "--quiet"]) == 0
    assert [path.name for path in (tmp_path / "here" / "runs").iterdir()] == ["clip-online"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.mp4"], 1, "missing.mp4"),
        (["{clip}", "--frames", "1"], 2, "at least 2"),
        (["{clip}", "--method", "offline"], 2, "offline"),
        (["{clip}", "--method", "none-such"], 2, "none-such"),
        (["{picture}"], 1, "only one frame"),
    ],
)
def test_bad_input_is_one_line(
    bench: Callable[..., int], clip: Path, tmp_path: Path, capsys: Capture, arguments: list[str], code: int, words: str
) -> None:
    one_picture = save_frames([picture()], tmp_path / "pictures")
    assert bench(*(text.format(clip=clip, picture=one_picture) for text in arguments)) == code
    assert words in error_of(capsys)
    assert left_behind(tmp_path) == []


def test_a_video_that_breaks_off_is_measured_as_far_as_it_goes(
    bench: Callable[..., int], tmp_path: Path, capsys: Capture
) -> None:
    folder = save_frames([picture(seed) for seed in range(5)], tmp_path / "pictures")
    (folder / "4.png").write_bytes(b"no picture")
    assert bench(folder, "--json", "--method", "joint") == 3
    printed = capsys.readouterr()
    assert json.loads(printed.out)["frames"] == 4
    assert "4.png" in printed.err
    assert printed.err.count("\n") == 1
