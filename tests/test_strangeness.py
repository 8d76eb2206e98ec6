"""How strange frames are: in look and in content, measured with a prediction or asked for, and said at the end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import noise_frames, picture
from shared_data import shared

from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.adaptation.strangeness import USUAL, measuring, strangeness_to_trained
from ttt_cli.cli import main
from ttt_cli.core.classes import CAMVID
from ttt_cli.core.frame import Frame
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.tasks.semantic import SemanticTask

Capture = pytest.CaptureFixture[str]


def adapter_for(model: TwoHeadedModel, method: str) -> Adapter:
    reconstruction = ReconstructionSettings(target="image")
    return Adapter(model, SemanticTask(CAMVID), AdaptationSettings(method=method), reconstruction, torch.device("cpu"))


def test_a_prediction_and_a_question_measure_the_same(tiny_model: TwoHeadedModel) -> None:
    adapter = adapter_for(tiny_model, "joint")
    frame = noise_frames(1)[0]
    with measuring(adapter.model) as measurement:
        adapter.step(frame)
    assert measurement.strangeness is not None
    asked = strangeness_to_trained(adapter, frame)
    assert asked is not None
    assert measurement.strangeness.look == pytest.approx(asked.look, rel=1e-4)
    assert measurement.strangeness.content == pytest.approx(asked.content, rel=1e-4)


def test_ordinary_pictures_are_less_strange_than_noise(tiny_model: TwoHeadedModel) -> None:
    adapter = adapter_for(tiny_model, "joint")
    ordinary = strangeness_to_trained(adapter, Frame(0, "0", 0.0, picture(0)))
    noise = strangeness_to_trained(adapter, noise_frames(1)[0])
    assert ordinary is not None and noise is not None
    assert ordinary.look < noise.look and ordinary.content < noise.content


def test_the_question_is_put_to_the_model_as_it_was_trained(tiny_model: TwoHeadedModel) -> None:
    adapter = adapter_for(tiny_model, "online")
    frame = noise_frames(1)[0]
    before = strangeness_to_trained(adapter, frame)
    for adapted in noise_frames(3):
        adapter.step(adapted)
    moved = [parameter.detach().clone() for parameter in tiny_model.parameters()]
    assert strangeness_to_trained(adapter, frame) == before
    assert all(torch.equal(now, then) for now, then in zip(tiny_model.parameters(), moved, strict=True))


def test_without_statistics_nothing_is_known(tiny_model: TwoHeadedModel) -> None:
    tiny_model.ordinary_features = None
    assert strangeness_to_trained(adapter_for(tiny_model, "joint"), noise_frames(1)[0]) is None


@pytest.mark.parametrize(
    ("video", "is_known"), [("data/camvid/video_0016E5_15hz/images", True), ("data/davis16/images/dog", False)]
)
def test_a_video_of_something_else_is_told(
    video: str, is_known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for path in sorted(shared(video).iterdir())[:2]:
        shutil.copy(path, frames / path.name)
    monkeypatch.chdir(tmp_path)
    assert main(["segment", str(frames), "--method", "joint", "--no-overlay", "--no-masks", "--out", "out"]) == 0
    warned = capsys.readouterr().err
    strangeness = json.loads(Path("out/run.json").read_text())["strangeness"]
    assert (strangeness <= USUAL["street"]) == is_known
    assert ("tttv weights list --hub" in warned) != is_known
