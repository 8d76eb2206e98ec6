"""Matching a frame's exposure and white balance to ordinary pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import picture

from ttt_cli.core.classes import CAMVID
from ttt_cli.core.exposure import LARGEST_GAIN, exposure_matched, picture_statistics
from ttt_cli.core.pictures import IMAGENET, PictureStatistics
from ttt_cli.datasets.low_light import low_light
from ttt_cli.model.weights import open_weights
from ttt_cli.run.overrides import InputOverrides, Overrides
from ttt_cli.run.settings import resolve, task_of
from ttt_cli.tasks.semantic import SemanticTask
from ttt_cli.tasks.settings import TaskSettings

GRAYISH = PictureStatistics((120.0, 125.0, 130.0), (40.0, 41.0, 42.0))


def test_mean_and_deviation_become_those_of_ordinary_pictures() -> None:
    matched = exposure_matched(picture(), GRAYISH).float()
    assert matched.mean(dim=(1, 2)).tolist() == pytest.approx(GRAYISH.mean, abs=2)
    assert matched.std(dim=(1, 2)).tolist() == pytest.approx(GRAYISH.deviation, abs=2)


def test_exposure_and_white_balance_no_longer_matter() -> None:
    bright = picture().float() * 0.8
    dark = bright * torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1) + 10
    difference = exposure_matched(bright.to(torch.uint8), GRAYISH).float() - exposure_matched(
        dark.to(torch.uint8), GRAYISH
    )
    assert difference.abs().mean() < 2


def test_an_even_picture_is_not_amplified_without_limit() -> None:
    noise = torch.randint(100, 102, (3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    matched = exposure_matched(noise, GRAYISH).float()
    assert 0 < matched.std() <= LARGEST_GAIN
    assert exposure_matched(torch.zeros(3, 8, 8, dtype=torch.uint8), GRAYISH).float().std(dim=(1, 2)).max() == 0


def test_statistics_are_means_over_pictures() -> None:
    statistics = picture_statistics([torch.full((3, 4, 4), value, dtype=torch.uint8) for value in (10, 30)])
    assert statistics == PictureStatistics((20.0, 20.0, 20.0), (0.0, 0.0, 0.0))


def test_the_task_matches_what_the_model_sees() -> None:
    image = low_light(picture(), seed=0)
    assert torch.equal(SemanticTask(CAMVID).preprocess(image), image)
    task = SemanticTask(CAMVID, TaskSettings(), GRAYISH)
    assert torch.equal(task.preprocess(image), exposure_matched(image, GRAYISH))


@pytest.mark.parametrize("exposure", [None, "off", "match"])
def test_the_setting_decides_else_the_weights(tiny_weights: Path, exposure: str | None) -> None:
    weights = open_weights(str(tiny_weights))
    settings = resolve(weights, None, Overrides(input=InputOverrides(exposure=exposure)), torch.device("cpu"))
    task = task_of(weights, settings)
    assert task.ordinary == (IMAGENET if exposure == "match" else None)
