"""Temporal consistency: what moves with the picture is consistent, what does not is flicker."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_eval import make_drive

from ttt_cli.cli import main
from ttt_cli.core.labels import ClassMap, Instance, Instances, encode
from ttt_cli.metrics.consistency import NOTHING, Consistency

Capture = pytest.CaptureFixture[str]
SIZE = (96, 128)


def textured(seed: int = 0) -> np.ndarray:
    """uint8 (H, W, 3), with enough texture for optical flow."""
    coarse = np.random.default_rng(seed).integers(0, 256, (SIZE[0] // 4 + 4, SIZE[1] // 4 + 4, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((SIZE[1] + 16, SIZE[0] + 16), Image.Resampling.BICUBIC))


def moving(shift: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture that moves to the left by `shift`, and a class map that is fixed to it."""
    classes = np.zeros((SIZE[0] + 16, SIZE[1] + 16), np.uint8)
    classes[30:70, 40:90] = 1
    window = np.s_[8 : 8 + SIZE[0], shift : shift + SIZE[1]]
    return torch.from_numpy(textured()[window]).permute(2, 0, 1), torch.from_numpy(classes[window])


def test_what_moves_with_the_picture_is_consistent() -> None:
    with_it, fixed = Consistency("ab", 0.5), Consistency("ab", 0.5)
    for shift in (0, 4, 8):
        image, classes = moving(shift)
        with_it.update(image, ClassMap(classes))
        fixed.update(image, ClassMap(moving(0)[1]))
    scores = [consistency.metric.compute().paper for consistency in (with_it, fixed)]
    assert scores[0] > 97
    assert scores[1] < 93
    assert len(with_it.metric.frame_scores) == 2


def test_a_prediction_that_comes_and_goes_is_not() -> None:
    flicker = Consistency("ab", 0.5)
    image, classes = moving(0)
    for index in range(4):
        flicker.update(image, ClassMap(classes if index % 2 else torch.zeros_like(classes)))
    assert flicker.metric.compute().paper < 60


def test_objects_below_the_shown_score_are_not_seen() -> None:
    flicker = Consistency("ab", 0.5)
    image, classes = moving(0)
    for score in (0.9, 0.4, 0.9):
        flicker.update(image, Instances((Instance(1, encode((classes == 1).numpy()), score),), SIZE))
    scores = flicker.metric.compute()
    assert scores.by_class["b"] == 0
    assert 0 < scores.by_class[NOTHING] < 100


def test_the_command_reports_it_beside_the_scores(tiny_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    drive = make_drive(tmp_path / "drive")
    arguments = ["eval", "--dataset", "camvid", "--gt", str(drive), "--weights", str(tiny_weights), "--method", "joint"]
    for task in ("semantic", "panoptic"):
        assert main([*arguments, "--consistency", "--task", task, "--out", str(tmp_path / task)]) == 0
        assert "consistency" in capsys.readouterr().out


def test_without_opencv_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from ttt_cli.core.errors import TttvError

    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(TttvError, match=r"OpenCV is not installed; python -m pip install"):
        Consistency("ab", 0.5)
