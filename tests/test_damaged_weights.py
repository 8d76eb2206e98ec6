"""Weights files that are damaged, or that ask for what no file should decide: one line, at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, error_of, new_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ttt_cli.cli import main
from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError
from ttt_cli.model.opening import open_weights
from ttt_cli.model.own import STREET, OwnWeights, find, save_weights
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.weights import ALL_TASKS

Capture = pytest.CaptureFixture[str]


def flipped(source: Path, target: Path) -> Path:
    """A copy with all bits of 4 KB in the middle of its tensors flipped."""
    content = np.frombuffer(source.read_bytes(), np.uint8).copy()
    middle = len(content) // 2
    content[middle : middle + 4096] ^= 255
    target.write_bytes(content.tobytes())
    return target


def rewritten(source: Path, target: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> Path:
    """A copy as tttv 0.1 wrote it, without a checksum, with its record or tensors changed."""
    with safe_open(source, framework="pt") as file:
        record = json.loads(file.metadata()["record"])
    tensors = load_file(source)
    change(record, tensors)
    save_file(tensors, target, metadata={"format": "tttv-1", "record": json.dumps(record)})
    return target


def test_a_damaged_file_of_our_own_is_refused(tiny_weights: Path, tmp_path: Path, clip: Path, capsys: Capture) -> None:
    damaged = flipped(tiny_weights, tmp_path / "damaged.safetensors")
    assert main(["segment", str(clip), "--weights", str(damaged), "--out", str(tmp_path / "out")]) == 1
    assert "damaged.safetensors: is damaged" in error_of(capsys)
    assert not (tmp_path / "out").exists()
    assert main(["weights", "verify", str(damaged)]) == 1
    assert "is damaged" in error_of(capsys)


def test_a_damaged_file_that_ships_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, clip: Path
) -> None:
    flipped(find(STREET), tmp_path / "street.safetensors")
    monkeypatch.setenv("TTTV_WEIGHTS", str(tmp_path))
    assert main(["segment", str(clip), "--out", str(tmp_path / "out")]) == 1
    assert "reinstall" in error_of(capsys)


def test_files_without_a_checksum_are_still_read(tiny_weights: Path, tmp_path: Path) -> None:
    old = rewritten(tiny_weights, tmp_path / "old.safetensors", lambda record, tensors: None)
    assert open_weights(str(old)).load() is not None


def test_a_damaged_companion_is_refused(tiny_weights: Path, tmp_path: Path) -> None:
    from ttt_cli.core.pictures import IMAGENET
    from ttt_cli.model.companion import Companion, companion_path, named, write_companion

    weights = tmp_path / "own.safetensors"
    weights.write_bytes(tiny_weights.read_bytes())
    opened = open_weights(str(weights))
    statistics = new_model(TINY, 11).ordinary_features
    assert statistics is not None
    tensors = named("ordinary_features.", statistics.state_dict())
    path = companion_path(weights)
    write_companion(path, Companion(opened.fingerprint(), 4, IMAGENET), tensors)
    open_weights(str(weights)).load()
    content = path.read_bytes()
    path.write_bytes(content[:-8] + bytes(255 - byte for byte in content[-8:]))
    with pytest.raises(TttvError, match="companion.safetensors: is damaged"):
        open_weights(str(weights)).load()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(
    tiny_weights: Path, tmp_path: Path, capsys: Capture, value: float
) -> None:
    def spoil(record: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        tensors["main_head.class_predictor.bias"][0] = value

    path = rewritten(tiny_weights, tmp_path / "spoiled.safetensors", spoil)
    assert main(["weights", "verify", str(path)]) == 1
    assert "not finite" in error_of(capsys)


def test_class_maps_have_no_room_for_more_than_255_classes(tmp_path: Path) -> None:
    classes = tuple(Class(f"class {number}", (0, 0, 0), False) for number in range(256))
    settings = ReconstructionSettings()

    def weights(count: int) -> OwnWeights:
        path = tmp_path / "many.safetensors"
        return OwnWeights(path, "many", ALL_TASKS, classes[:count], "none", settings, {}, model_size=TINY)

    save_weights(new_model(TINY, 255), weights(255))
    assert len(open_weights(str(tmp_path / "many.safetensors")).classes) == 255
    with pytest.raises(TttvError, match="has 256 classes"):
        weights(256)


def put(*keys: str | int, value: object) -> Callable[[dict[str, Any], object], None]:
    """A change of a record: a value at a place."""

    def change(record: dict[str, Any], tensors: object) -> None:
        place: Any = record
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


HOSTILE = {
    "an encoder of the hub": put("model", "encoder", "name", value="hf-hub:somebody/repo"),
    "an unknown encoder": put("model", "encoder", "name", value="vit_gigantic_patch14_clip_224"),
    "an encoder that is no text": put("model", "encoder", "name", value=["swin"]),
    "many layers": put("model", "main_head", "decoder_layers", value=100_000),
    "many layers of the other head": put("model", "reconstruction_head", "pixel_decoder_layers", value=100_000),
    "a light head wider than any": put("model", "light_head_width", value=100_000),
    "many blocks": put("model", "encoder", "swin_depths", value=[2, 2, 100_000, 2]),
    "two stages": put("model", "encoder", "swin_depths", value=[2, 2]),
    "wide": put("model", "main_head", "channels", value=2**40),
    "negative": put("model", "main_head", "queries", value=-1),
    "not a multiple": put("model", "main_head", "channels", value=33),
    "no heads": put("model", "main_head", "attention_heads", value=0),
    "a fraction": put("model", "main_head", "queries", value=1.5),
    "a huge number": put("model", "main_head", "queries", value=10**400),
    "a divisor of 0": put("model", "size_divisor", value=0),
    "no table": put("model", value=[]),
    "nested": put("model", "main_head", "queries", value={"queries": {"queries": 1}}),
    "classes that are a text": put("classes", value="car"),
    "a class that is a list": put("classes", 0, value=[1]),
    "a color of two numbers": put("classes", 0, "color", value=[1, 2]),
    "a color of large numbers": put("classes", 0, "color", value=[1, 2, 300]),
    "no classes": put("classes", value=[]),
    "a name that is a number": put("name", value=7),
    "tasks that are a number": put("tasks", value=7),
    "an unknown task": put("tasks", value=["cooking"]),
    "no tasks": put("tasks", value=[]),
    "a license that is a table": put("license", value={}),
    "settings that are a list": put("adaptation", value=[1]),
    "a rate of 1e30": put("adaptation", value={"learning_rate": 1e30}),
    "constants that are a list": put("adaptation", value={"constants": [1]}),
    "a setting in a table": put("adaptation", value={"window": {"window": 3}}),
    "an unknown exposure": put("exposure", value="twice"),
    "statistics of one channel": put("ordinary", "mean", value=[1.0]),
    "a deviation of 0": put("ordinary", "deviation", value=[0.0, 0.0, 0.0]),
    "statistics that are no table": put("ordinary", value=3),
    "a mask ratio that is not finite": put("reconstruction", "mask_ratio", value=float("nan")),
    "a familiar loss that is not finite": put("reconstruction", "familiar_loss", value=float("inf")),
    "large patches": put("reconstruction", "patch_pixels", value=10**9),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_record_is_one_line_at_once(
    tiny_weights: Path,
    tmp_path: Path,
    clip: Path,
    capsys: Capture,
    change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object],
) -> None:
    path = rewritten(tiny_weights, tmp_path / "hostile.safetensors", change)
    began = time.process_time()
    assert main(["segment", str(clip), "--weights", str(path), "--out", str(tmp_path / "out")]) in (1, 2)
    assert time.process_time() - began < 5
    error = error_of(capsys)
    assert "(unexpected" not in error
    assert "hostile.safetensors" in error
    assert not (tmp_path / "out").exists()


def test_a_record_of_lists_in_lists_is_one_line(tiny_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "deep.safetensors"
    save_file(load_file(tiny_weights), path, metadata={"format": "tttv-1", "record": "[" * 100_000})
    assert main(["weights", "show", str(path)]) == 1
    assert "deep.safetensors: its record cannot be understood" in error_of(capsys)
