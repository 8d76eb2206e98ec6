"""Peak memory since a chosen moment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ttt_cli.run.peak_memory import forget_peak, peak_mebibytes

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_the_peak_counts_what_was_in_use_for_a_moment() -> None:
    before = peak_mebibytes(CPU)
    assert before is not None
    tensor = torch.ones(128 * 2**20 // 4 + int(before) * 2**18)
    during = peak_mebibytes(CPU)
    assert during is not None
    assert during > before + 64
    del tensor
    forget_peak(CPU)
    after = peak_mebibytes(CPU)
    assert after is not None
    assert after <= during


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_a_run_tells_it(segment: Callable[..., int], clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment(clip, "--method", "joint", "--max-frames", 1, "--out", "run") == 0
    peak = json.loads(Path("run/run.json").read_text())["peak_memory_mib"]
    now = peak_mebibytes(CPU)
    assert now is not None
    assert 100 < peak <= now + 4  # Linux counts pages in batches: a peak may be less when read again.
    assert f"{peak:.0f} MiB" in capsys.readouterr().out
