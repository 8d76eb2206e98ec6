"""A run that was cut off goes on to the very files of one that was not."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PATIENCE, adapter_for, error_of, noise_frames, probabilities_of, same, values, video_of
from label_fixtures import save_array
from video_fixtures import make_video

from ttt_cli.adaptation.methods import METHODS
from ttt_cli.adaptation.online import walk
from ttt_cli.adaptation.resuming import resume, state_of
from ttt_cli.cli import main
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.run import checkpoints, journal
from ttt_cli.run.journal import Journal, latest_checkpoint, packed, unpacked
from ttt_cli.run.record import RunTotals
from ttt_cli.run.steps import Step
from ttt_cli.video import ffmpeg

Capture = pytest.CaptureFixture[str]
KILLS = 2
"""For each of the four tasks."""
SETTINGS = ["--every", "2", "--set", "output.checkpoint_frames=4"]


# The adaptation


@pytest.mark.parametrize("method", [*METHODS, "joint+smoothing"])
def test_a_resumed_adapter_goes_on_as_if_nothing_had_been(
    tiny_model: TwoHeadedModel, tmp_path: Path, method: str
) -> None:
    """Every method, after 20 frames of 24, with a cut and an estimate of the window behind it."""
    frames = [*noise_frames(12), *noise_frames(12, seed=5)]
    chosen: dict[str, Any] = {"method": method, "window": 4, "auto_window": True, "cuts": "reset", "every": 2}
    adapter = adapter_for(tiny_model, **chosen)
    whole = list(walk(video_of(frames), adapter))
    end = values(tiny_model)
    adapter.restore()

    adapter = adapter_for(tiny_model, **chosen)
    assert len(list(islice(walk(video_of(frames), adapter), 20))) == 20
    Journal(tmp_path, {}).write(20, {"model": packed(state_of(adapter))})
    adapter.restore()

    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.frames == 20
    rest = walk(video_of(frames[20:]), adapter_for(tiny_model, **chosen), state=checkpoint.parts["model"])
    for there, here in zip(whole[20:], rest, strict=True):
        assert (there.loss, there.adapted, there.cut) == (here.loss, here.adapted, here.cut)
        assert (there.window_estimate, there.dead_zone) == (here.window_estimate, here.dead_zone)
        assert torch.equal(*probabilities_of(iter([there, here])))
    assert same(values(tiny_model), end)


def test_a_budget_goes_on_with_what_it_had_saved(tiny_model: TwoHeadedModel) -> None:
    chosen: dict[str, Any] = {"method": "online", "budget": 1.5, "cuts": "reset"}
    adapter = adapter_for(tiny_model, **chosen)
    list(walk(video_of(noise_frames(8)), adapter))
    resumed = adapter_for(tiny_model, **chosen)
    resume(resumed, state_of(adapter))
    assert vars(resumed.pace) == vars(adapter.pace)


def test_the_step_before_a_bad_one_is_still_known(tiny_model: TwoHeadedModel) -> None:
    """A step that is undone goes back to the weights before the last good one, which are those of an earlier run."""
    adapter = adapter_for(tiny_model)
    list(walk(video_of(noise_frames(3)), adapter))
    assert adapter.optimizer is not None
    expected = [value.clone() for value in adapter.optimizer.last_good.values]
    state = unpacked(packed(state_of(adapter)))
    adapter.restore()
    resumed = adapter_for(tiny_model)
    resume(resumed, state)
    assert resumed.descend(next(iter(resumed.moving)).sum() * float("nan")) is None
    assert all(map(torch.equal, resumed.moving, expected))


# Runs that are killed


def run_until(arguments: list[str], frames: int, pause_seconds: float, how: int) -> None:
    """In a process of its own: a run that gets a signal at some moment after so many frames."""
    out = Path(arguments[arguments.index("--out") + 1])

    def strike() -> None:
        while not (out / "frames.jsonl").exists() or (out / "frames.jsonl").read_bytes().count(b"\n") < frames:
            time.sleep(0.001)
        time.sleep(pause_seconds)
        os.kill(os.getpid(), how)

    threading.Thread(target=strike, daemon=True).start()
    os._exit(run(arguments))


def run(arguments: list[str]) -> int:
    """A run that makes a checkpoint wherever it may."""
    checkpoints.LARGEST_SHARE = 1e9
    return main(arguments)


def content(folder: Path) -> dict[str, Any]:
    """All files of a run, without times; of videos the decoded pixels."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".mp4":
            code, found[name] = ffmpeg.run(["-i", ffmpeg.file_url(path), "-f", "framemd5", "pipe:2"])
            found[name] = [line for line in found[name].splitlines() if line.startswith("0,")]
            assert code == 0 and found[name]
        elif path.name == "run.json":
            kept = (
                "status",
                "frames",
                "files",
                "adapted",
                "first_loss",
                "last_loss",
                "cuts",
                "gray_frames",
                "warnings",
            )
            record = json.loads(path.read_text())
            found[name] = {key: record[key] for key in kept}
        elif path.name == "frames.jsonl":
            found[name] = [{**json.loads(line), "milliseconds": None} for line in path.read_text().splitlines()]
        elif path.is_file() and not path.name.startswith("summary"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture
def task_arguments(
    request: pytest.FixtureRequest,
    tiny_weights: Path,
    color_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """A command line for a task, on 24 frames."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoints, "LARGEST_SHARE", 1e9)
    task = request.param
    video = make_video(tmp_path / "clip.mp4", seconds=2.4, sound=True)
    if task == "colorization":
        return ["colorize", str(video), "--weights", str(color_weights), "--gray-first", *SETTINGS]
    given = ["segment", str(video), "--weights", str(tiny_weights), "--task", task, *SETTINGS]
    if task == "semantic":
        (tmp_path / "labels").mkdir()
        for number in range(0, 24, 3):
            save_array(tmp_path / "labels" / f"{number:06d}.png", np.zeros((48, 64), np.uint8))
        given += ["--gt", "labels", "--compare"]
    return given


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize("task_arguments", ["semantic", "instance", "panoptic", "colorization"], indirect=True)
def test_killed_at_random_moments_a_run_still_ends_in_the_same_files(task_arguments: list[str], tmp_path: Path) -> None:
    assert run([*task_arguments, "--out", "whole"]) == 0
    expected = content(Path("whole"))
    random_numbers = random.Random(str(task_arguments))
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["ttt_cli.run.runner"])
    resumed = 0
    for number in range(KILLS):
        out = tmp_path / f"killed-{number}"
        how = signal.SIGKILL if number else signal.SIGTERM
        frames, pause = random_numbers.randrange(1, 24), random_numbers.uniform(0, 0.05)
        arguments = [*task_arguments, "--out", str(out)]
        process = processes.Process(target=run_until, args=(arguments, frames, pause, how))
        process.start()
        process.join(PATIENCE)
        assert process.exitcode is not None
        if json.loads((out / "run.json").read_text())["status"] in ("running", "interrupted"):
            assert run(arguments) == 1, "without --resume nothing happens to what there is"
        assert run([*arguments, "--resume"]) == 0
        resumed += bool(json.loads((out / "run.json").read_text())["resumed_at"])
        assert content(out) == expected
    assert resumed, "at least one run went on from a checkpoint"


# What cannot go on


def cut_off(
    segment: Callable[..., int], monkeypatch: pytest.MonkeyPatch, video: Path, *arguments: object, after: int = 10
) -> None:
    """A run of a video in the folder `out`, that somebody interrupts after so many frames."""
    update = RunTotals.update

    def interrupted(totals: RunTotals, step: Step) -> None:
        update(totals, step)
        if totals.frames == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunTotals, "update", interrupted)
        patch.setattr(checkpoints, "LARGEST_SHARE", 1e9)
        assert segment(video, "--out", "out", *SETTINGS, *arguments) == 130


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Sixteen frames."""
    return make_video(tmp_path / "video.mp4", seconds=1.6)


def test_it_says_what_differs(
    segment: Callable[..., int], video: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    cut_off(segment, monkeypatch, video)
    before = content(Path("out"))
    capsys.readouterr()
    assert segment(video, "--out", "out", "--resume", *SETTINGS, "--steps", 2, "--alpha", 0.3) == 1
    error = error_of(capsys)
    assert "adaptation.steps was 1, is 2" in error and "output.alpha was 0.45, is 0.3" in error

    os.utime(video, (1, 1))
    assert segment(video, "--out", "out", "--resume", *SETTINGS) == 1
    assert "the input changed" in error_of(capsys)
    assert content(Path("out")) == before, "nothing was changed"


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    segment: Callable[..., int], video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert segment(video, "--out", "whole", *SETTINGS) == 0
    cut_off(segment, monkeypatch, video)
    newest = max(Path("out/unfinished").glob("state-*.tttv"))
    assert newest.stem == "state-000000008"
    newest.write_bytes(newest.read_bytes()[:-100])
    assert segment(video, "--out", "out", "--resume", *SETTINGS) == 0
    assert json.loads(Path("out/run.json").read_text())["resumed_at"] == [4]
    assert content(Path("out")) == content(Path("whole"))


def test_without_a_checkpoint_it_begins_anew(
    segment: Callable[..., int], video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(segment, monkeypatch, video)
    for state in Path("out/unfinished").glob("state-*.tttv"):
        state.unlink()
    Path("out/note.txt").write_text("mine")
    assert segment(video, "--out", "out", "--resume", *SETTINGS) == 0
    record = json.loads(Path("out/run.json").read_text())
    assert (record["status"], record["frames"], record["resumed_at"]) == ("done", 16, [])
    assert Path("out/note.txt").read_text() == "mine"


def test_a_second_cut_and_the_end(
    segment: Callable[..., int], video: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    cut_off(segment, monkeypatch, video)
    assert segment(video, "--out", "out", *SETTINGS) == 1
    assert "cut off (it can go on after frame 8); add --resume" in error_of(capsys).replace("\n", "")
    cut_off(segment, monkeypatch, video, "--resume", after=14)
    assert segment(video, "--out", "out", "--resume", *SETTINGS) == 0
    assert json.loads(Path("out/run.json").read_text())["resumed_at"] == [8, 12]
    assert not Path("out/unfinished").exists()
    before = content(Path("out"))
    capsys.readouterr()
    assert segment(video, "--out", "out", "--resume", *SETTINGS) == 0
    assert "is finished" in capsys.readouterr().out
    assert content(Path("out")) == before


def test_the_number_of_threads_stays(segment: Callable[..., int], video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert segment(video, "--out", "whole", *SETTINGS) == 0
    cut_off(segment, monkeypatch, video)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    assert segment(video, "--out", "out", "--resume", *SETTINGS) == 0
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)
    assert content(Path("out")) == content(Path("whole"))


def test_files_of_others_are_not_resumed(segment: Callable[..., int], video: Path, capsys: Capture) -> None:
    Path("out").mkdir()
    Path("out/run.json").write_text('{"my": "experiment"}')
    assert segment(video, "--out", "out", "--resume") == 1
    assert "not a run folder" in error_of(capsys)
    assert segment(video, "--out", "other", "--resume", "--overwrite") == 2
    assert segment(video, "--out", "other", "--resume", *SETTINGS) == 0, "where there is no run, one begins"


def test_what_a_checkpoint_may_hold(tmp_path: Path) -> None:
    """Reading one makes nothing but numbers, texts, tensors and our own records."""

    class Stranger:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, ("touch " + str(tmp_path / "harm"),)

    Journal(tmp_path, {}).write(4, {"model": packed({"x": Stranger()})})
    assert latest_checkpoint(tmp_path) is None
    assert not (tmp_path / "harm").exists()


# A full disk, and runs that are replaced


def test_a_full_disk_only_pauses_a_run(
    segment: Callable[..., int], video: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert segment(video, "--out", "whole", *SETTINGS) == 0
    monkeypatch.setattr(checkpoints, "LARGEST_SHARE", 1e9)
    calls = []

    def full(paths: object) -> None:
        calls.append(paths)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(journal, "fsync", full)
        capsys.readouterr()
        assert segment(video, "--out", "out", *SETTINGS) == 1
    error = error_of(capsys)
    assert "No space left" in error and "--resume" in error
    assert json.loads(Path("out/run.json").read_text())["status"] == "failed"
    assert not list(Path("out/unfinished").glob("*.part"))
    assert segment(video, "--out", "out", "--resume", *SETTINGS) == 0
    assert json.loads(Path("out/run.json").read_text())["resumed_at"]
    assert content(Path("out")) == content(Path("whole"))


def test_a_run_is_replaced_only_when_the_next_one_is_finished(
    segment: Callable[..., int], video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert segment(video, "--out", "out", *SETTINGS) == 0
    Path("out/masks/mine.txt").write_text("mine")
    old = content(Path("out"))
    cut_off(segment, monkeypatch, video, "--overwrite", "--alpha", 0.2)
    aside = content(Path("out/unfinished/replaced"))
    assert aside == {name: value for name, value in old.items() if name != "masks/mine.txt"}
    cut_off(segment, monkeypatch, video, "--overwrite", "--alpha", 0.3)
    assert content(Path("out/unfinished/replaced")) == aside, "the last good one stays"
    assert segment(video, "--out", "out", "--resume", "--alpha", 0.3, *SETTINGS) == 0
    assert not Path("out/unfinished").exists()
    assert Path("out/masks/mine.txt").read_text() == "mine"
    assert {name: value for name, value in content(Path("out")).items() if name != "overlay.mp4"} == {
        name: value for name, value in old.items() if name != "overlay.mp4"
    }
