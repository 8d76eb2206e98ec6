"""Refactoring must not change the losses and predictions of any method, nor the losses of a training.

kept_values.json holds them.

`python tests/test_kept_values.py` writes the file again. Bits depend on the processor and the libraries. If these are
the same as when the file was written, values must agree bit for bit, otherwise closely.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, new_model, noise_frames, video_of
from training_fixtures import made_up_recipe, make_drive

from ttt_cli.adaptation.methods import METHODS, constants_of
from ttt_cli.adaptation.online import Adapter, adapt
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.classes import CAMVID
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.tasks.semantic import SemanticTask
from ttt_cli.training.camera import Camera
from ttt_cli.training.joint import Trainer
from ttt_cli.training.sources import load_split

KEPT = Path(__file__).with_name("kept_values.json")
NAMES = (*METHODS, "online+vote", "tent+cb+smoothing")
FAMILIAR_LOSSES = {"unknown": None, "familiar": 1e6, "unfamiliar": 1e-6}
CASES = [*(f"{method}, {familiarity}" for method in NAMES for familiarity in FAMILIAR_LOSSES), "online, auto window"]


def arithmetic() -> dict[str, str]:
    """What the bits of a result depend on, other than our own code."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    return {
        "processor": next((line.partition(": ")[2] for line in lines if "model name" in line), platform.processor()),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        **{package: version(package) for package in ("torch", "timm", "transformers")},
    }


def measure(case: str) -> list[dict[str, Any]]:
    """Loss, checksum of the probabilities, and their weighted sum, for each frame."""
    method, _, familiarity = case.partition(", ")
    automatic = familiarity == "auto window"
    model = new_model(TINY, len(CAMVID))
    reconstruction = ReconstructionSettings(familiar_loss=FAMILIAR_LOSSES.get(familiarity))
    settings = AdaptationSettings(
        method=method,
        # The tiny model is never confident, so self-training would have nothing to learn from.
        constants={"confidence": 0.0} if "confidence" in constants_of(method) else {},
        window=3,
        auto_window=automatic,
        batch=2,
        forgetting=0.1,
        learning_rate=1e-3,
        crop=0.75,
    )
    adapter = Adapter(model, SemanticTask(CAMVID), settings, reconstruction, torch.device("cpu"))
    return [
        {
            "loss": None if result.loss is None else result.loss.hex(),
            "sha256": hashlib.sha256(result.prediction.probabilities.numpy().tobytes()).hexdigest(),
            "sum": weighted_sum(result.prediction.probabilities),
        }
        for result in adapt(video_of(noise_frames(18 if automatic else 4)), adapter)
    ]


def train(folder: Path) -> list[dict[str, float | None]]:
    """The losses of three steps of joint training and one of look-ahead training on pictures as a camera sees them."""
    recipe = made_up_recipe(3, 1)
    augmentation = dataclasses.replace(recipe.augmentation, camera=Camera(share=0.6), matched=0.5)
    recipe = dataclasses.replace(recipe, augmentation=augmentation, exposure="match")
    trainer = Trainer(recipe, load_split(recipe.sources, make_drive(folder)), torch.device("cpu"))
    return [dataclasses.asdict(progress.losses) for progress in trainer.run(folder / "last.ckpt")]


def weighted_sum(values: torch.Tensor) -> float:
    weights = torch.cos(torch.arange(values.numel(), dtype=torch.float64))
    return float(values.double().flatten() @ weights)


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("case", CASES)
def test_values_are_as_they_were(kept: dict[str, Any], case: str) -> None:
    before, now = kept["cases"][case], measure(case)
    if kept["arithmetic"] == arithmetic():
        assert now == before
        return
    for old, new in zip(before, now, strict=True):
        assert (old["loss"] is None) == (new["loss"] is None)
        if old["loss"] is not None:
            assert float.fromhex(new["loss"]) == pytest.approx(float.fromhex(old["loss"]), rel=1e-3)
        assert new["sum"] == pytest.approx(old["sum"], rel=0.02, abs=0.02)


def test_training_is_as_it_was(kept: dict[str, Any], tmp_path: Path) -> None:
    now = train(tmp_path)
    if kept["arithmetic"] == arithmetic():
        assert now == kept["training"]
        return
    for old, new in zip(kept["training"], now, strict=True):
        assert new == {name: None if loss is None else pytest.approx(loss, rel=1e-2) for name, loss in old.items()}


def test_methods_differ(kept: dict[str, Any]) -> None:
    last = {case: frames[-1]["sha256"] for case, frames in kept["cases"].items()}
    assert len({last[f"{name}, unknown"] for name in ("joint", "online", "implicit", "tent", "self-train")}) == 5
    assert last["online+ln-adapt, familiar"] == last["online, familiar"] != last["online+ln-adapt, unfamiliar"]


if __name__ == "__main__":
    content: dict[str, Any] = {"arithmetic": arithmetic(), "cases": {case: measure(case) for case in CASES}}
    with tempfile.TemporaryDirectory() as folder:
        content["training"] = train(Path(folder))
    KEPT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
