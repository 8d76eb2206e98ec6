"""The contract of the online loop, over the whole table of methods."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conftest import adapter_for, noise_frames, same, values, video_of

from ttt_cli.adaptation.memory import Window
from ttt_cli.adaptation.methods import METHODS
from ttt_cli.adaptation.methods.offline import Offline
from ttt_cli.adaptation.methods.online import MaskedReconstruction
from ttt_cli.adaptation.online import adapt
from ttt_cli.adaptation.pace import WithinBudget
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.errors import UsageError
from ttt_cli.core.frame import Frame, Video
from ttt_cli.model.two_headed import TwoHeadedModel

CPU = torch.device("cpu")
FIXED = ("main-only", "joint", "prepared", "clamp", "auto", "majority-vote", "temporal-smoothing", "mirror")
ADAPTING = [name for name in METHODS if name not in FIXED]
# Offline training sees the whole video in advance.
ONLINE = [name for name in ADAPTING if not isinstance(METHODS[name], Offline)]


@pytest.mark.parametrize("method", METHODS)
def test_the_model_comes_back_bit_identical(tiny_model: TwoHeadedModel, method: str) -> None:
    before = values(tiny_model)
    results = list(adapt(video_of(noise_frames(3)), adapter_for(tiny_model, method=method)))
    assert len(results) == 3
    assert same(before, values(tiny_model))


@pytest.mark.parametrize("method", METHODS)
def test_the_model_comes_back_after_an_exception(tiny_model: TwoHeadedModel, method: str) -> None:
    frames = noise_frames(3)

    def breaking() -> Iterator[Frame]:
        yield from frames[:2]
        raise OSError("the disk went away")

    video = video_of(frames)
    broken = Video(video.name, video.path, video.fps, video.size, None, breaking)
    before = values(tiny_model)
    with pytest.raises(OSError, match="went away"):
        list(adapt(broken, adapter_for(tiny_model, method=method)))
    assert same(before, values(tiny_model))


@pytest.mark.parametrize("method", METHODS)
def test_only_declared_parameters_move(tiny_model: TwoHeadedModel, method: str) -> None:
    before = values(tiny_model)
    adapter = adapter_for(tiny_model, method=method)
    chosen = METHODS[method]
    declared = {id(tensor) for tensor in (*chosen.parameters(tiny_model), *chosen.statistics(tiny_model))}
    stream = adapt(video_of(noise_frames(3)), adapter)
    next(stream), next(stream)
    moved = {name for name, tensor in tiny_model.state_dict().items() if not torch.equal(tensor, before[name])}
    everything = (*tiny_model.named_parameters(), *tiny_model.named_buffers())
    allowed = {name for name, tensor in everything if id(tensor) in declared}
    assert moved <= allowed
    assert not any(name.startswith("main_head") for name in moved)
    assert bool(moved) == bool(declared)
    stream.close()


@pytest.mark.parametrize("method", ONLINE)
def test_weights_do_not_depend_on_later_frames(tiny_model: TwoHeadedModel, method: str) -> None:
    frames = noise_frames(4)
    other_future = frames[:2] + noise_frames(4, seed=9)[2:]
    seen = []
    for sequence in (frames, other_future):
        adapter = adapter_for(tiny_model, method=method, batch=8)
        stream = adapt(video_of(sequence), adapter)
        next(stream), next(stream)
        seen.append(values(tiny_model))
        next(stream)
        seen.append(values(tiny_model))
        stream.close()
    assert same(seen[0], seen[2])
    assert not same(seen[1], seen[3])


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_bits(tiny_model: TwoHeadedModel, method: str) -> None:
    runs = [
        [(result.loss, result.prediction.probabilities) for result in adapt(video_of(noise_frames(3)), adapter)]
        for adapter in (adapter_for(tiny_model, method=method, seed=5) for _ in range(2))
    ]
    for (first_loss, first), (second_loss, second) in zip(*runs, strict=True):
        assert first_loss == second_loss
        assert torch.equal(first, second)


@pytest.mark.parametrize("method", ["no-memory", "explicit"])
def test_without_implicit_memory_a_frame_is_like_the_first(tiny_model: TwoHeadedModel, method: str) -> None:
    frames = noise_frames(3)
    adapter = adapter_for(tiny_model, method=method, window=1)
    *_, last = [adapter.step(frame) for frame in frames]
    adapter.restore()
    fresh = adapter_for(tiny_model, method=method, window=1).step(frames[-1])
    assert torch.equal(last.prediction.probabilities, fresh.prediction.probabilities)


def test_another_seed_draws_other_masks(tiny_model: TwoHeadedModel) -> None:
    losses = []
    for seed in (0, 1):
        losses.append([result.loss for result in adapt(video_of(noise_frames(2)), adapter_for(tiny_model, seed=seed))])
    assert losses[0] != losses[1]


def test_training_on_one_frame_again_and_again_lowers_its_loss(tiny_model: TwoHeadedModel) -> None:
    frame = noise_frames(1)[0]
    adapter = adapter_for(tiny_model, learning_rate=3e-3, batch=4)
    losses = [adapter.step(frame).loss for _ in range(30)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])  # type: ignore[arg-type]


def test_a_loss_that_is_not_finite_is_skipped_and_counted(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = MaskedReconstruction.loss, []

    def sometimes_nan(self: MaskedReconstruction, *arguments: object) -> torch.Tensor:
        calls.append(None)
        loss = whole(self, *arguments)  # type: ignore[arg-type]
        return loss * float("nan") if len(calls) == 2 else loss

    monkeypatch.setattr(MaskedReconstruction, "loss", sometimes_nan)
    results = list(adapt(video_of(noise_frames(4)), adapter_for(tiny_model)))
    assert [result.skipped_steps for result in results] == [0, 1, 0, 0]
    assert results[1].loss is None
    assert all(torch.isfinite(result.prediction.probabilities).all() for result in results)


def test_weights_that_stopped_making_sense_are_put_back(tiny_model: TwoHeadedModel) -> None:
    adapter = adapter_for(tiny_model)
    frames = noise_frames(3)
    adapter.step(frames[0])
    good = values(tiny_model)
    adapter.step(frames[1])
    with torch.no_grad():
        next(iter(tiny_model.encoder.parameters())).fill_(float("nan"))
    result = adapter.step(frames[2])
    assert result.skipped_steps == 1
    assert torch.isfinite(result.prediction.probabilities).all()
    assert same(good, values(tiny_model))


DIVERGE: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "several steps": {"steps": 3},
    "not on every frame": {"every": 2},
    "a shared forward pass": {"method": "align", "budget": 1.1, "constants": {"familiar": 0.0, "dead_zone": 0.0}},
    "an average of weights": {"method": "cotta"},
    "an average of predictions": {"method": "online+smoothing"},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
}


@pytest.mark.parametrize("name", DIVERGE)
@pytest.mark.parametrize("factor", [1e30, math.inf])
def test_no_frame_is_predicted_by_weights_that_a_step_has_ruined(
    tiny_model: TwoHeadedModel, name: str, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is finite, yet the weights after it are so large that nothing can be computed with them."""
    whole, calls = torch.optim.AdamW.step, []

    @torch.no_grad()
    def too_far(self: torch.optim.AdamW) -> None:
        calls.append(None)
        with torch.enable_grad():
            whole(self)
        if len(calls) == 4:
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(factor)

    monkeypatch.setattr(torch.optim.AdamW, "step", too_far)
    monkeypatch.setattr(WithinBudget, "due", lambda self, begins_scene: "interval")
    settings = {"batch": 1, "learning_rate": 1e-3, **DIVERGE[name]}
    adapter = adapter_for(tiny_model, **settings)
    results = list(adapt(video_of(noise_frames(10)), adapter))
    assert len(calls) > 4
    assert all(torch.isfinite(result.prediction.probabilities).all() for result in results)
    assert 1 <= sum(result.skipped_steps for result in results) <= settings.get("steps", 1) + 1
    assert sum(result.skipped_steps for result in results[-2:]) == 0
    assert any(result.loss is not None for result in results[-2:])
    sums = results[0].prediction.probabilities.sum(dim=0)
    torch.testing.assert_close(sums, torch.ones_like(sums))


def test_a_ruinous_step_is_undone_and_no_more(tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, kept = noise_frames(4), []
    whole = torch.optim.AdamW.step

    @torch.no_grad()
    def too_far(self: torch.optim.AdamW) -> None:
        whole(self)
        kept.append(values(tiny_model))
        if len(kept) == 3:
            next(iter(tiny_model.encoder.parameters())).fill_(math.inf)

    monkeypatch.setattr(torch.optim.AdamW, "step", too_far)
    adapter = adapter_for(tiny_model)
    results = [adapter.step(frame) for frame in frames[:3]]
    assert [result.skipped_steps for result in results] == [0, 0, 1]
    assert same(values(tiny_model), kept[1])
    torch.testing.assert_close(results[2].prediction, adapter.predict(frames[2]))


def test_without_implicit_memory_a_bad_step_goes_back_to_the_trained_weights(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = MaskedReconstruction.loss, []

    def nan_in_the_second_frame(self: MaskedReconstruction, *arguments: object) -> torch.Tensor:
        calls.append(None)
        loss = whole(self, *arguments)  # type: ignore[arg-type]
        return loss * float("nan") if len(calls) > 1 else loss

    monkeypatch.setattr(MaskedReconstruction, "loss", nan_in_the_second_frame)
    start = values(tiny_model)
    adapter = adapter_for(tiny_model, method="explicit")
    for frame in noise_frames(2):
        adapter.step(frame)
    assert same(start, values(tiny_model))


def test_window_keeps_the_latest_frames_and_draws_with_replacement() -> None:
    window = Window(2, None, CPU)
    frames = noise_frames(3)
    for frame in frames:
        window.push(frame.image)
    assert [image is frame.image for image, frame in zip(window.images, frames[1:], strict=True)] == [True, True]
    batch = window.sample(50, 1.0, torch.Generator().manual_seed(0)).images
    assert batch.shape == (50, *frames[0].image.shape)
    drawn = {index for index in range(3) for image in batch if torch.equal(image, frames[index].image)}
    assert drawn == {1, 2}


def test_crops_are_parts_of_the_frame_at_different_places() -> None:
    image = torch.arange(48 * 64).view(1, 48, 64).expand(3, 48, 64)
    window = Window(1, None, CPU)
    window.push(image)
    window.label(image[0])
    batch = window.sample(20, 0.5, torch.Generator().manual_seed(0))
    assert batch.images.shape == (20, 3, 24, 32)
    for crop, pseudo_labels in zip(*batch, strict=True):
        top, left = divmod(int(crop[0, 0, 0]), 64)
        assert torch.equal(crop, image[:, top : top + 24, left : left + 32])
        assert torch.equal(pseudo_labels, crop[0])
    assert len({int(crop[0, 0, 0]) for crop in batch.images}) > 10


def test_g_does_not_move_at_a_rate_of_zero(tiny_model: TwoHeadedModel) -> None:
    before = values(tiny_model)
    stream = adapt(video_of(noise_frames(2)), adapter_for(tiny_model, reconstruction_rate_factor=0.0))
    next(stream)
    moved = {name for name, tensor in tiny_model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[0] for name in moved} == {"encoder"}
    stream.close()


WRONG: list[dict[str, float]] = [
    {"window": -1},
    {"steps": 0},
    {"batch": -1},
    {"crop": 0.0},
    {"crop": 1.1},
    {"forgetting": 1.0},
    {"learning_rate": 0.0},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must be"):
        AdaptationSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_too(tiny_model: TwoHeadedModel, precision: str) -> None:
    adapter = adapter_for(tiny_model, precision=precision, batch=2)
    start = values(tiny_model)
    results = [adapter.step(frame) for frame in noise_frames(6)]
    assert any(result.loss is not None for result in results)
    assert not same(start, values(tiny_model))
    assert all(torch.isfinite(result.prediction.probabilities).all() for result in results)


def test_forgetting_keeps_the_weights_near_the_start(tiny_model: TwoHeadedModel) -> None:
    distances = []
    for forgetting in (0.0, 0.5):
        adapter = adapter_for(tiny_model, forgetting=forgetting, learning_rate=1e-3)
        start = values(tiny_model)
        for frame in noise_frames(5):
            adapter.step(frame)
        moved = values(tiny_model)
        distances.append(max(float((moved[name] - start[name]).abs().max()) for name in start))
        adapter.restore()
        assert same(start, values(tiny_model))
    assert 0 < distances[1] <= 1.01e-3 < distances[0]


def test_frames_between_are_not_trained_on(tiny_model: TwoHeadedModel) -> None:
    results = list(adapt(video_of(noise_frames(8)), adapter_for(tiny_model, "online", every=3)))
    assert [result.loss is not None for result in results] == [True, True, True, True, False, False, True, False]
