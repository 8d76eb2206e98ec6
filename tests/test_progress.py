"""What is shown while a run goes on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CLIP_FRAMES, PATIENCE

from ttt_cli.cli import _console

Capture = pytest.CaptureFixture[str]


def test_a_log_gets_lines(
    segment: Callable[..., int], clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(_console, "SECONDS_BETWEEN_LINES", 0.0)
    assert segment(clip, "--method", "online", "--budget", "none") == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == CLIP_FRAMES
    rate = r"\d+\.\d\d frames/s"
    assert re.fullmatch(rf"clip: 1 of 6 frames, {rate}, 0:0\d:\d\d left, 1 adapted, loss \d\.\d{{4}}", lines[0])
    assert re.fullmatch(rf"clip: 6 of 6 frames, {rate}, 6 adapted, loss \d\.\d{{4}}", lines[-1])


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_programs_get_no_lines(
    option: str, segment: Callable[..., int], clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(_console, "SECONDS_BETWEEN_LINES", 0.0)
    assert segment(clip, option, "--method", "joint") == 0
    assert capsys.readouterr().err == ""


def test_a_resumed_run_counts_from_where_it_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(_console, "SECONDS_BETWEEN_LINES", 0.0)
    with _console.progress_bar("drive", None, "frames", True) as bar:
        bar.begin(100)
        bar.advance("")
        bar.expect(102)
        bar.advance("loss 0.5")
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"drive: 101 frames, \d+\.\d\d frames/s", first)
    assert re.fullmatch(r"drive: 102 of 102 frames, \d+\.\d\d frames/s, loss 0.5", second)


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix")
def test_a_terminal_gets_a_spinner_and_a_bar(clip: Path, tiny_weights: Path, tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ttt_cli", "segment", str(clip), "--weights", str(tiny_weights)]
    command += ["--method", "online", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # Linux says so when the process has closed its end.
        pass
    assert process.wait(PATIENCE) == 0
    words = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown).decode()
    for text in ("loading PyTorch", "frames/s", "6/6"):
        assert text in words
