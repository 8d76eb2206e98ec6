"""Half precision on a CPU is tried before a run, and left if it is slower."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import adapter_for

from ttt_cli.adaptation.settings import Precision
from ttt_cli.core.frame import Frame
from ttt_cli.model.two_headed import TwoHeadedModel


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


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (37, 53), (1, 64)])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("method", ["online", "tent", "align", "joint"])
def test_odd_sizes_in_half_precision(
    tiny_model: TwoHeadedModel, precision: Precision, size: tuple[int, int], method: str
) -> None:
    adapter = adapter_for(tiny_model, method=method, precision=precision, batch=2)
    generator = torch.Generator().manual_seed(0)
    for index in range(3):
        image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
        result = adapter.step(Frame(index, str(index), index / 10, image))
        # In fp16 the first steps find out by how much a loss can be scaled, and a mask may hide nothing of one pixel.
        assert result.skipped_steps == 0 or precision == "fp16" or size == (1, 1)
        assert torch.isfinite(result.prediction.probabilities).all()  # type: ignore[attr-defined]
        assert result.prediction.at_size(size).ids.shape == size  # type: ignore[attr-defined]
