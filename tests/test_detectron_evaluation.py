"""detectron2's evaluators give the scores that our metrics give."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from test_eval import make_drive

from ttt_cli.cli import main
from ttt_cli.core.classes import Class, things_of
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.labels import ClassMap, Instance, Instances, PanopticMap, Segment, encode
from ttt_cli.evaluate.detectron import DetectronEvaluation
from ttt_cli.metrics.instance import InstanceMetric
from ttt_cli.metrics.panoptic import PanopticMetric
from ttt_cli.metrics.semantic import SemanticMetric

CLASSES = (Class("road", (0, 0, 0), False), Class("car", (1, 1, 1), True), Class("sky", (2, 2, 2), False))
NAMES = tuple(kind.name for kind in CLASSES)
SIZE = (40, 60)


@pytest.fixture
def detectron() -> None:
    pytest.importorskip("detectron2", reason="detectron2 is not installed")


def class_map(generator: torch.Generator) -> torch.Tensor:
    return torch.randint(0, len(NAMES), SIZE, generator=generator).to(torch.uint8)


@pytest.mark.usefixtures("detectron")
def test_classes_are_scored_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = SemanticMetric(NAMES), DetectronEvaluation("semantic", CLASSES)
    for _ in range(3):
        truth = class_map(generator)
        truth[:5] = 255
        prediction = torch.where(torch.rand(SIZE, generator=generator) < 0.6, truth.clamp(max=2), class_map(generator))
        for metric in (ours, theirs):
            metric.update(ClassMap(prediction), ClassMap(truth))
    scores = theirs.compute()
    assert scores["mIoU"] == pytest.approx(ours.compute().pooled)
    assert 30 < scores["mIoU"] < 90
    assert [scores[f"IoU-{name}"] for name in NAMES] == pytest.approx(list(ours.compute().by_class.values()))


def objects(generator: torch.Generator, shift: int) -> Instances:
    found = []
    for number in range(4):
        top, left = torch.randint(0, 20, (2,), generator=generator).tolist()
        mask = torch.zeros(SIZE, dtype=torch.bool)
        mask[top : top + 15, left + shift : left + shift + 20] = True
        found.append(Instance(number % len(NAMES), encode(mask.numpy()), 1 - number / 10, is_crowd=False))
    return Instances(tuple(found), SIZE)


@pytest.mark.usefixtures("detectron")
def test_objects_are_scored_alike() -> None:
    ours, theirs = InstanceMetric(NAMES), DetectronEvaluation("instance", CLASSES)
    for seed in range(3):
        truth = objects(torch.Generator().manual_seed(seed), 0)
        prediction = objects(torch.Generator().manual_seed(seed), 1 + 2 * seed)
        for metric in (ours, theirs):
            metric.update(prediction, truth)
    for metric in (ours, theirs):
        metric.update(Instances((), SIZE), objects(torch.Generator().manual_seed(9), 0))
    scores, expected = theirs.compute(), ours.compute()
    assert scores["AP"] == pytest.approx(expected.pooled)
    assert 10 < scores["AP"] < 90
    assert [scores["AP50"], scores["AP75"]] == pytest.approx([expected.details["AP50"], expected.details["AP75"]])


def regions(generator: torch.Generator, shift: int) -> PanopticMap:
    """Road above sky, two cars, one of which may be a crowd, and some pixels without a label."""
    ids = torch.ones(SIZE, dtype=torch.int32)
    ids[20:] = 70_000
    for number in (2, 3):
        top, left = torch.randint(0, 20, (2,), generator=generator).tolist()
        ids[top : top + 15, left + shift : left + shift + 20] = number
    ids[:, :3] = 0
    classes = {1: 0, 70_000: 2, 2: 1, 3: 1}
    segments = [
        Segment(number, classes[number], is_crowd=shift == 0 and number == 3)
        for number in ids.unique().tolist()
        if number
    ]
    return PanopticMap(ids, tuple(segments))


@pytest.mark.usefixtures("detectron")
def test_regions_are_scored_alike() -> None:
    pytest.importorskip("panopticapi", reason="panopticapi is not installed")
    ours, theirs = PanopticMetric(NAMES, things_of(CLASSES)), DetectronEvaluation("panoptic", CLASSES)
    for seed in range(4):
        truth = regions(torch.Generator().manual_seed(seed), 0)
        prediction = regions(torch.Generator().manual_seed(seed), 1 + 2 * seed)
        for metric in (ours, theirs):
            metric.update(prediction, truth)
    scores, expected = theirs.compute(), ours.compute()
    assert scores["PQ"] == pytest.approx(expected.pooled)
    assert 10 < scores["PQ"] < 95
    named = {"SQ": "SQ", "RQ": "RQ", "PQ_th": "PQ things", "PQ_st": "PQ stuff"}
    assert {name: scores[name] for name in named} == pytest.approx(
        {name: expected.details[detail] for name, detail in named.items()}
    )


@pytest.mark.usefixtures("detectron")
def test_without_panopticapi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "panopticapi.evaluation", None)
    monkeypatch.setitem(sys.modules, "panopticapi", None)
    with pytest.raises(TttvError, match=r"needs panopticapi; run python -m pip install 'git\+https"):
        DetectronEvaluation("panoptic", CLASSES)


def test_other_tasks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="tasks semantic, instance, panoptic, not for colorization"):
        DetectronEvaluation("colorization", CLASSES)
    monkeypatch.setitem(sys.modules, "detectron2.evaluation", None)
    with pytest.raises(TttvError, match="detectron2 is not installed"):
        DetectronEvaluation("semantic", CLASSES)


@pytest.mark.usefixtures("detectron")
def test_the_command_writes_detectrons_scores(tiny_weights: Path, tmp_path: Path) -> None:
    drive, folder = make_drive(tmp_path / "drive"), tmp_path / "out"
    arguments = ["eval", "--dataset", "camvid", "--gt", drive, "--weights", tiny_weights, "--out", folder, "--quiet"]
    command = [str(word) for word in (*arguments, "--evaluator", "detectron2", "--method")]
    assert main([*command, "joint"]) == 0
    assert main([*command, "joint,tent"]) == 0
    passes = json.loads((folder / "detectron2.json").read_text())["passes"]
    assert [entry["method"] for entry in passes] == ["joint", "tent"]
    ours = json.loads((folder / "metrics.json").read_text())["records"][0]
    assert ours["method"] == "joint"
    assert passes[0]["scores"]["IoU-road"] == pytest.approx(ours["by_class"]["road"])
