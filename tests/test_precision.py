"""Half precision on a CPU is tried before a run, and left if it is slower."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize("wanted", ["bf16", "fp16"])
def test_the_quicker_precision_is_taken_and_told(segment: Callable[..., int], clip: Path, wanted: str) -> None:
    assert segment(clip, "--precision", wanted, "--device", "cpu", "--max-frames", 2, "--out", "run") == 0
    report = json.loads(Path("run/run.json").read_text())
    (note,) = report["warnings"]
    seconds = {name: float(shown) for shown, name in re.findall(r"([\d.e-]+) s in (\w+)", note)}
    assert set(seconds) == {wanted, "fp32"}
    chosen = report["settings"]["adaptation"]["precision"]
    assert note.startswith(f"precision {chosen}: ")
    assert seconds[chosen] == min(seconds.values())


def test_single_precision_is_not_tried(segment: Callable[..., int], clip: Path) -> None:
    assert segment(clip, "--precision", "fp32", "--device", "cpu", "--max-frames", 2, "--out", "run") == 0
    report = json.loads(Path("run/run.json").read_text())
    assert (report["warnings"], report["settings"]["adaptation"]["precision"]) == ([], "fp32")
