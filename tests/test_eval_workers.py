"""An evaluation comes to the same results whoever measures its cells, and whenever it is broken off."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import pickle
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, error_of
from test_eval import make_drive
from test_resume import content as pixels_of

from ttt_cli.cli import evaluate, main
from ttt_cli.core.errors import PartialInput, TttvError
from ttt_cli.datasets.source import StreamSource
from ttt_cli.datasets.stream import StreamRequest
from ttt_cli.evaluate.cells import Measuring, Progress
from ttt_cli.evaluate.evaluation import Cell
from ttt_cli.evaluate.experiment import Experiment
from ttt_cli.evaluate.running import Watcher
from ttt_cli.model.opening import open_weights
from ttt_cli.run.settings import RunSettings, choose_device
from ttt_cli.video.settings import InputSettings

Capture = pytest.CaptureFixture[str]
KILLS = 2
MEASURED = ("seconds", "time_ratio", "peak_mebibytes", "finished")
"""Parts of the names of what differs from one time to the next."""
UNIX_SIGNALS = pytest.mark.skipif(os.name == "nt", reason="signals of Unix")


@pytest.fixture
def arguments(tiny_weights: Path, tmp_path: Path) -> list[str]:
    """`tttv eval` of six cells with four videos, but for its folder."""
    for name in ("a", "b"):
        make_drive(tmp_path / "drives" / name, frames=8)
    given = ["eval", "--dataset", "camvid", "--gt", str(tmp_path / "drives"), "--weights", str(tiny_weights)]
    return [*given, "--method", "joint,online", "--seeds", "2", "--videos", "--quiet", "--out"]


def without_times(value: Any) -> Any:
    """JSON without times and memory."""
    if isinstance(value, list):
        return [without_times(item) for item in value]
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if not any(word in key for word in MEASURED)}
    return value


def content(folder: Path) -> dict[str, Any]:
    """All files of an evaluation, without times and memory; of videos the decoded pixels."""
    found = pixels_of(folder)
    found["metrics.json"] = without_times(json.loads((folder / "metrics.json").read_text()))
    found["cells.jsonl"] = [without_times(json.loads(line)) for line in (folder / "cells.jsonl").open()]
    with (folder / "metrics.csv").open(newline="") as file:
        found["metrics.csv"] = without_times(list(csv.DictReader(file)))
    rows = (folder / "metrics.tex").read_text().splitlines()
    found["metrics.tex"] = [row.rpartition("&")[0] for row in rows]
    return found


def cells_in(folder: Path) -> int:
    journal = folder / "cells.jsonl"
    return journal.read_bytes().count(b'\n{"cell"') if journal.is_file() else 0


class Counting(Watcher):
    """Counts frames, and does something at one of them."""

    def __init__(self, moment: int, act: Callable[[], None]) -> None:
        self.frames, self.moment, self.act = 0, moment, act
        self.expected = 0

    def start(self, frames: int) -> None:
        """Keeps the number."""
        self.expected = frames

    def progress(self, cell: Cell, progress: Progress) -> None:
        """Counts."""
        self.frames += 1
        if self.frames == self.moment:
            self.act()


@UNIX_SIGNALS
def test_workers_come_to_the_same_results_and_may_be_killed(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed (tttv[consistency])")
    assert main([*arguments, str(tmp_path / "one"), "--consistency"]) == 0
    expected = content(tmp_path / "one")
    assert len(expected["cells.jsonl"]) == 1 + 1 + 6, "the subject, the names of the videos, and the cells"
    assert len([name for name in expected if name.endswith(".mp4")]) == 4
    killed = []

    def kill() -> None:
        worker = multiprocessing.active_children()[0]
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        killed.append(worker.pid)

    watcher = Counting(12, kill)
    monkeypatch.setattr(evaluate, "_watcher", lambda bar: watcher)
    assert main([*arguments, str(tmp_path / "two"), "--consistency", "--workers", "2"]) == 0
    assert killed
    assert watcher.expected == 48 <= watcher.frames
    assert content(tmp_path / "two") == expected


@UNIX_SIGNALS
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_keeps_what_is_finished(
    arguments: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], workers: str
) -> None:
    out = tmp_path / "out"

    def interrupt() -> None:
        while not cells_in(out):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    assert main([*arguments, str(out), "--workers", workers]) == 130
    thread.join(PATIENCE)
    assert 0 < cells_in(out) < 6
    assert "Traceback" not in capfd.readouterr().err
    assert multiprocessing.active_children() == []
    assert main([*arguments, str(out)]) == 0
    assert main([*arguments, str(tmp_path / "whole")]) == 0
    assert content(out) == content(tmp_path / "whole")


def run_until(arguments: list[str], out: Path, cells: int, pause_seconds: float) -> None:
    """In a process of its own: an evaluation that is killed at some moment after so many cells."""

    def strike() -> None:
        while not (out / "cells.jsonl").is_file() or cells_in(out) < cells:
            time.sleep(0.001)
        time.sleep(pause_seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=strike, daemon=True).start()
    os._exit(main([*arguments, str(out)]))


@UNIX_SIGNALS
def test_killed_at_random_moments_an_evaluation_still_comes_to_the_same_results(
    arguments: list[str], tmp_path: Path
) -> None:
    assert main([*arguments, str(tmp_path / "whole")]) == 0
    expected = content(tmp_path / "whole")
    random_numbers = random.Random(0)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["ttt_cli.evaluate.running"])
    killed = 0
    for number in range(KILLS):
        out = tmp_path / f"killed-{number}"
        workers = ["--workers", str(1 + number % 2), "--out"]
        moment = random_numbers.randrange(6), random_numbers.uniform(0, 0.1)
        process = processes.Process(target=run_until, args=([*arguments[:-1], *workers], out, *moment))
        process.start()
        process.join(PATIENCE)
        assert process.exitcode in (0, -signal.SIGKILL)
        killed += process.exitcode != 0
        assert main([*arguments, str(out)]) == 0
        assert content(out) == expected
    assert killed, "at least one was not finished before its moment came"


def test_errors_are_sent_to_the_main_process(arguments: list[str], tmp_path: Path, capsys: Capture) -> None:
    """As what `tttv eval` says of them by itself, with the same exit code."""
    (tmp_path / "drives/b/images/000004.jpg").write_text("no picture")
    assert main([*arguments, str(tmp_path / "out")]) == 3
    message = error_of(capsys)
    weights = open_weights(arguments[arguments.index("--weights") + 1])
    request = StreamRequest(tmp_path / "drives", None, InputSettings(), "semantic")
    source = StreamSource("camvid", request, weights.classes)
    settings = RunSettings()
    experiment = Experiment({}, [], weights, {"joint": settings}, settings, [0], [0], choose_device("cpu"))
    work = pickle.loads(pickle.dumps(Measuring(experiment, source, tmp_path)))
    results = [work.perform(Cell(name, "joint", None, None), lambda progress: None) for name in ("a", "b", "c")]
    fine, broken, unknown = pickle.loads(pickle.dumps(results))
    assert fine.tally.frames == 8
    assert isinstance(broken, PartialInput)
    assert message == f"error: {broken}\n"
    assert isinstance(unknown, TttvError)
    assert "c, joint: KeyError" in str(unknown)
