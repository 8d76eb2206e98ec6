"""mIoU by both protocols, against a plain count."""

from __future__ import annotations

import pytest
import torch

from ttt_cli.metrics.semantic import SemanticMetric


def plain_iou(prediction: torch.Tensor, truth: torch.Tensor, classes: int) -> list[float]:
    known = truth != 255
    ious = []
    for index in range(classes):
        predicted, labelled = (prediction == index) & known, (truth == index) & known
        union = int((predicted | labelled).sum())
        if union:
            ious.append(int((predicted & labelled).sum()) / union)
    return ious


def random_maps(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, 4, (20, 30), generator=generator, dtype=torch.uint8)
    prediction = torch.where(torch.rand(20, 30, generator=generator) < 0.6, truth, torch.tensor(1, dtype=torch.uint8))
    truth[torch.rand(20, 30, generator=generator) < 0.2] = 255
    return prediction, truth


def test_both_protocols_agree_with_a_plain_count() -> None:
    maps = [random_maps(seed) for seed in range(3)]
    metric = SemanticMetric(6)
    for prediction, truth in maps:
        metric.update(prediction, truth)
    pooled = plain_iou(torch.cat([p for p, _ in maps]), torch.cat([t for _, t in maps]), 6)
    frames = [plain_iou(prediction, truth, 6) for prediction, truth in maps]
    scores = metric.compute()
    assert scores["miou_pooled"] == pytest.approx(100 * sum(pooled) / len(pooled), abs=1e-9)
    expected = sum(sum(one) / len(one) for one in frames) / 3
    assert scores["miou_paper"] == pytest.approx(100 * expected, abs=1e-9)
    assert scores["frames_scored"] == 3


def test_two_videos_merge_into_what_one_pass_counts() -> None:
    whole, first, second = SemanticMetric(4), SemanticMetric(4), SemanticMetric(4)
    for seed in range(4):
        whole.update(*random_maps(seed))
        (first if seed < 2 else second).update(*random_maps(seed))
    first += second
    assert first.compute() == whole.compute()
    assert first.class_iou() == whole.class_iou()


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        SemanticMetric(3).update(torch.zeros(4, 4, dtype=torch.uint8), torch.zeros(4, 5, dtype=torch.uint8))
