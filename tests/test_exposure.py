"""Matching a frame's exposure and white balance to ordinary pictures."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from conftest import picture

from ttt_cli.core.classes import CAMVID
from ttt_cli.core.exposure import DEAD_ZONE, LARGEST_GAIN, exposure_matched, picture_statistics
from ttt_cli.core.pictures import IMAGENET, PictureStatistics
from ttt_cli.datasets.low_light import low_light
from ttt_cli.model.opening import open_weights
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
    half = torch.tensor([-1.0, 1.0]).expand(3, 4, 2)
    statistics = picture_statistics(
        (mean + deviation * half).to(torch.uint8) for mean, deviation in ((10, 5), (30, 20))
    )
    assert statistics.mean == pytest.approx((20.0, 20.0, 20.0))
    assert statistics.deviation == pytest.approx((12.5, 12.5, 12.5))
    assert statistics.mean_spread == pytest.approx((10.0, 10.0, 10.0))
    assert statistics.log_deviation_spread == pytest.approx((math.log(2),) * 3)


def test_a_channel_moves_only_as_far_as_other_pictures_differ() -> None:
    image = picture()
    own = picture_statistics([image])
    spreads = {"mean_spread": (20.0, 20.0, 20.0), "log_deviation_spread": (0.2, 0.2, 0.2)}
    inside = dataclasses.replace(own, mean=tuple(mean + 0.9 * DEAD_ZONE * 20 for mean in own.mean), **spreads)
    assert torch.equal(exposure_matched(image, inside), image)
    outside = dataclasses.replace(own, mean=tuple(mean + 20.0 for mean in own.mean), **spreads)
    moved = exposure_matched(image, outside).float().mean() - image.float().mean()
    assert float(moved) == pytest.approx((1 - DEAD_ZONE) * 20, abs=1)


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
