"""`tttv eval` on the paper's data sets in their own layouts, with weights made for them."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import TINY
from shared_data import shared
from test_datasets import make_coco_video, make_davis, make_kitti

from ttt_cli.cli import main
from ttt_cli.core.classes import CAMVID, Class
from ttt_cli.core.coco_classes import COCO_PANOPTIC
from ttt_cli.model.opening import open_weights
from ttt_cli.model.own import OwnWeights, save_weights
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.model.weights import ALL_TASKS

Capture = pytest.CaptureFixture[str]


def weights_with(classes: tuple[Class, ...], path: Path) -> Path:
    torch.manual_seed(0)
    model = TwoHeadedModel(TINY, len(classes))
    settings = ReconstructionSettings()
    save_weights(model, OwnWeights(path, "tiny", ALL_TASKS, classes, "none", settings, {}, model_size=TINY))
    return path


@pytest.mark.parametrize(("task", "score"), [("semantic", "mIoU"), ("instance", "AP"), ("panoptic", "PQ")])
def test_coco_videos(task: str, score: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = weights_with(tuple(COCO_PANOPTIC.values()), tmp_path / "coco.safetensors")
    make_coco_video(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    arguments = ["eval", "--dataset", "coco-videos", "--gt", "annotations/", "--weights", str(weights), "--task", task]
    assert main([*arguments, "--every", "1", "--method", "joint,online"]) == 0
    printed = capsys.readouterr().out
    assert f"bar: {score} in percent; 2 of 2 frames scored" in printed
    folder = Path("runs") / ("eval-coco-videos" if task == "semantic" else f"eval-coco-videos-{task}")
    content = json.loads((folder / "metrics.json").read_text())
    assert content["score"] == score and [row["method"] for row in content["summary"]] == ["joint", "online"]
    assert main([*arguments, "--method", "joint", "--out", "other", "--protocol", "paper"]) == 0
    printed = capsys.readouterr().out
    assert "1 of 2 frames scored" in printed, "every tenth frame by default"
    assert "paper" in printed and "│ pooled" not in printed


def test_kitti_step_with_a_checkpoint_of_the_release(tmp_path: Path, capsys: Capture) -> None:
    weights = tmp_path / "released.safetensors"
    checkpoint = shared("golden/video_ttt_tiny.pkl")
    assert main(["weights", "import", str(checkpoint), "--out", str(weights)]) == 0
    assert "19 classes, for semantic" in capsys.readouterr().out
    assert open_weights(str(weights)).classes[13].name == "car"
    assert main(["weights", "import", str(checkpoint), "--out", str(weights)]) == 1
    assert "exists; add --overwrite" in capsys.readouterr().err

    make_kitti(tmp_path / "kitti")
    arguments = ["eval", "--dataset", "kitti-step", "--gt", str(tmp_path / "kitti"), "--weights", str(weights)]
    assert main([*arguments, "--method", "joint", "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"][0]["frames_scored"] > 0
    assert main([*arguments, "--task", "panoptic", "--out", str(tmp_path / "out")]) == 2
    assert "weights released are for semantic, not for the task panoptic" in capsys.readouterr().err


def test_objects_of_classes_that_the_weights_do_not_know_are_left_out(tmp_path: Path, capsys: Capture) -> None:
    root = make_davis(tmp_path / "davis")
    for kind in ("images", "labels"):
        shutil.copytree(root / kind / "dog", root / kind / "taxi")
    (root / "classes.csv").write_text("sequence,class\ntaxi,car\n")
    weights = weights_with(CAMVID, tmp_path / "street.safetensors")
    arguments = ["eval", "--dataset", "davis", "--gt", str(root), "--task", "instance", "--weights", str(weights)]
    assert main([*arguments, "--method", "joint", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "dog: labeled with dog, which the weights do not know: left out" in printed.err
    records = json.loads((tmp_path / "out" / "metrics.json").read_text())["records"]
    assert records and all(set(record["by_class"]) == {entry.name for entry in CAMVID} for record in records)
    assert main([*arguments[:-1], str(weights_with(CAMVID[:3], tmp_path / "few.safetensors"))]) == 1
    assert "which the weights do not know; they know building, pole, sky; name the class" in capsys.readouterr().err


def test_a_checkpoint_with_other_classes_is_refused(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "x.pkl").write_bytes(b"no pickle")
    assert main(["weights", "import", str(tmp_path / "x.pkl")]) == 1
    assert "is not a checkpoint that can be imported" in capsys.readouterr().err
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize("name", sorted(path.stem for path in (Path(__file__).parents[1] / "benchmarks").glob("*.py")))
def test_every_benchmark_can_be_imported(name: str) -> None:
    assert importlib.import_module(name).__doc__
