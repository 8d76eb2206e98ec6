"""The statistics of f's channels: measured, compared, clamped, saved."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from conftest import TINY, picture
from torch import Tensor, nn

from ttt_cli.core.checksum import sha256
from ttt_cli.core.classes import CAMVID
from ttt_cli.model.feature_statistics import FeatureStatistics, channels_of, clamped_channels, measured_channels
from ttt_cli.model.opening import open_weights
from ttt_cli.model.own import RELEASES, STREET, save_weights
from ttt_cli.model.settings import EncoderSize
from ttt_cli.model.two_headed import TwoHeadedModel

SWIN = dataclasses.replace(
    TINY, encoder=EncoderSize("swin", swin_channels=16, swin_depths=(1, 1, 2, 1), swin_attention_heads=(1, 2, 2, 2))
)


@torch.no_grad()
def statistics_of(model: TwoHeadedModel, seeds: range) -> FeatureStatistics:
    return FeatureStatistics.of(model.channel_statistics(picture(seed)[None]) for seed in seeds)


def noisy(image: Tensor) -> Tensor:
    noise = 60 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    return (image + noise).clamp(0, 255).to(torch.uint8)


def test_channels_are_mean_and_log_deviation() -> None:
    values = torch.randn(2, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([values.mean((2, 3)), values.std((2, 3), correction=0).log()], dim=-1)
    assert torch.allclose(channels_of(values), expected, atol=1e-3)
    tokens = values.flatten(2).transpose(1, 2)
    assert torch.allclose(channels_of(tokens), expected, atol=1e-3)


@pytest.mark.parametrize("size", [TINY, SWIN], ids=["convolutions", "transformer"])
@torch.no_grad()
def test_unusual_pictures_are_farther_away_and_clamping_brings_them_back(size) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = TwoHeadedModel(size, len(CAMVID)).eval()
    ordinary = statistics_of(model, range(12))
    usual, unusual = picture(20)[None], noisy(picture(20))[None]
    near = ordinary.distance(model.channel_statistics(usual), 2.0)
    far = ordinary.distance(model.channel_statistics(unusual), 2.0)
    assert 0 <= near < far
    before = model.encode(unusual)
    with clamped_channels(model.encoder.blocks, ordinary, 2.0, 10.0):
        clamped = ordinary.distance(model.channel_statistics(unusual), 2.0)
        assert not torch.equal(model.encode(unusual).maps[-1], before.maps[-1])
    assert clamped < 0.05 * far
    assert torch.equal(model.encode(unusual).maps[-1], before.maps[-1])


@torch.no_grad()
def test_within_the_dead_zone_nothing_changes(tiny_model: TwoHeadedModel) -> None:
    ordinary = statistics_of(tiny_model, range(3))
    before = tiny_model.encode(picture(1)[None])
    with clamped_channels(tiny_model.encoder.blocks, ordinary, 100.0, 10.0):
        after = tiny_model.encode(picture(1)[None])
    assert all(torch.equal(one, other) for one, other in zip(before.maps, after.maps, strict=True))


def test_a_channel_is_amplified_only_so_far() -> None:
    block = nn.Identity()
    ordinary = FeatureStatistics([torch.tensor([[0.0, 2.0]])], [torch.tensor([[1.0, 0.1]])])
    weak = torch.tensor([-0.1, 0.1]).view(1, 1, 1, 2)
    with clamped_channels([block], ordinary, 1.0, 1.5):
        assert block(weak).std(correction=0).item() == pytest.approx(0.15)
    with clamped_channels([block], ordinary, 1.0, 1e6):
        assert block(weak).std(correction=0).log().item() == pytest.approx(1.9, abs=1e-2)


def test_they_are_saved_with_the_weights(tiny_weights: Path, tmp_path: Path) -> None:
    weights = open_weights(str(tiny_weights))
    model = weights.load()
    model.ordinary_features = statistics_of(model, range(4))
    copy = dataclasses.replace(weights, path=tmp_path / "copy.safetensors")
    save_weights(model, copy)
    read = open_weights(str(copy.path)).load().ordinary_features
    assert read is not None
    pairs = zip(read.blocks(), model.ordinary_features.blocks(), strict=True)
    assert all(torch.equal(one, other) for pair in pairs for one, other in zip(*pair, strict=True))


@torch.no_grad()
def test_measuring_leaves_the_model_as_it_is(tiny_model: TwoHeadedModel) -> None:
    with measured_channels(tiny_model.encoder.blocks) as measured:
        tiny_model.encode(picture()[None])
        tiny_model.encode(picture()[None])
    assert len(measured) == 2 * len(tiny_model.encoder.blocks)
    tiny_model.encode(picture()[None])
    assert len(measured) == 2 * len(tiny_model.encoder.blocks)


def test_the_default_weights_have_everything_that_auto_needs() -> None:
    weights = open_weights(STREET)
    assert weights.has_ordinary_features
    assert (weights.exposure, weights.adaptation["method"]) == ("match", "auto")
    model = weights.load()
    assert model.ordinary_features is not None
    blocks = list(model.ordinary_features.blocks())
    assert len(blocks) == len(model.encoder.blocks)
    assert all(mean.shape == spread.shape and bool((spread > 0).all()) for mean, spread in blocks)
    assert sha256(weights.path) == RELEASES[STREET].sha256
