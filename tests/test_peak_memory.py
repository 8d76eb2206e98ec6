"""Peak memory since a chosen moment."""

from __future__ import annotations

import sys

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
