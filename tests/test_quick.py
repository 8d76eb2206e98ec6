"""The quicker forward passes for predictions give what the models' own give, but for rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY, adapter_for, new_model, noise_frames, same, values
from torch import Tensor
from torch.nn import functional
from transformers.models.mask2former.modeling_mask2former import multi_scale_deformable_attention

from ttt_cli.core.classes import CAMVID
from ttt_cli.model.deformable import SamplingGrid
from ttt_cli.model.most_likely import most_likely
from ttt_cli.model.opening import open_weights
from ttt_cli.model.published.replay import replaced
from ttt_cli.model.quick import normalized_convolutions, quick_forwards
from ttt_cli.model.two_headed import TwoHeadedModel

SIZES = [(3, 4), (6, 8), (12, 16)]
HEADS, POINTS, CHANNELS = 2, 4, 16


def test_sums_are_those_of_grid_sample() -> None:
    cells = sum(height * width for height, width in SIZES)
    # Some offsets lead far outside of the maps.
    offsets = torch.randn(cells, HEADS, len(SIZES), POINTS, 2) * 8
    weights = torch.rand(cells, HEADS, len(SIZES), POINTS)
    stored = torch.randn(cells, CHANNELS)
    middles = [
        torch.stack(
            torch.meshgrid((torch.arange(w) + 0.5) / w, (torch.arange(h) + 0.5) / h, indexing="xy"), dim=-1
        ).flatten(0, 1)
        for h, w in SIZES
    ]
    extent = torch.tensor([(width, height) for height, width in SIZES])[:, None]
    locations = torch.cat(middles)[:, None, None, None] + offsets / extent
    expected = multi_scale_deformable_attention(stored.view(1, cells, HEADS, -1), SIZES, locations[None], weights[None])
    grid = SamplingGrid(SIZES, HEADS, POINTS, torch.device("cpu"))
    found = grid.sums(stored, offsets.view(cells, -1, 2), weights.view(cells, -1))
    torch.testing.assert_close(found, expected[0], atol=1e-4, rtol=1e-4)


def test_a_diverged_model_gives_no_numbers_instead_of_an_error() -> None:
    grid = SamplingGrid(SIZES, HEADS, POINTS, torch.device("cpu"))
    cells, samples = sum(height * width for height, width in SIZES), HEADS * len(SIZES) * POINTS
    nothing = torch.full((cells, samples, 2), torch.nan)
    assert grid.sums(torch.randn(cells, CHANNELS), nothing, nothing[..., 0]).isnan().all()


def shaken(model: TwoHeadedModel) -> TwoHeadedModel:
    """The model with statistics and norms that differ from 0 and 1, as trained ones do."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            for tensor in (module.running_mean, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
            for tensor in (module.running_var, module.weight.data):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model


@pytest.mark.parametrize("size", [(48, 64), (50, 71), (33, 39)])
@torch.no_grad()
def test_predictions_of_our_model_stay(size: tuple[int, int]) -> None:
    model = shaken(new_model(TINY, len(CAMVID))).eval()
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 255
    expected = model.class_probabilities(model.encode(image))
    assert normalized_convolutions(model)
    with replaced(quick_forwards(model)):
        found = model.class_probabilities(model.encode(image))
    assert not torch.equal(found, expected), "nothing was replaced"
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert torch.equal(model.class_probabilities(model.encode(image)), expected)


@torch.no_grad()
def test_predictions_of_a_published_model_stay(published: Callable[[str], Path]) -> None:
    model = open_weights(str(published("mask2former"))).load().eval()
    image = torch.rand(2, 3, 70, 90, generator=torch.Generator().manual_seed(0)) * 255
    expected = model.decode(model.encode(image))
    with replaced(quick_forwards(model)):
        found = model.decode(model.encode(image))
    for name in ("class_queries_logits", "masks_queries_logits"):
        torch.testing.assert_close(found[name], expected[name], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("method", ["joint", "clamp", "ln-adapt"])
def test_an_adapter_predicts_as_the_model_itself(method: str) -> None:
    model = shaken(new_model(TINY, len(CAMVID)))
    before = values(model)
    adapter, plain = (adapter_for(model, method=method) for _ in range(2))
    plain.quick = []
    frames = noise_frames(3)
    expected = [plain.step(frame).prediction for frame in frames]
    plain.restore()
    for frame, old in zip(frames, expected, strict=True):
        new = adapter.step(frame).prediction
        torch.testing.assert_close(new.probabilities, old.probabilities, atol=1e-4, rtol=0)
    adapter.restore()
    assert same(before, values(model))


def test_the_most_likely_class_is_the_first_of_the_highest() -> None:
    scores = torch.randint(0, 4, (7, 9, 11), generator=torch.Generator().manual_seed(0)).float()

    def larger(of_classes: Tensor) -> Tensor:
        return functional.interpolate(of_classes, size=(40, 31), mode="bilinear", align_corners=False)

    assert torch.equal(most_likely(scores, larger).long(), larger(scores[None])[0].argmax(dim=0))
    assert torch.equal(most_likely(scores, lambda of_class: of_class).long(), scores.argmax(dim=0))
