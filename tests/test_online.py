"""The contract of the online loop, over the whole table of methods."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import noise_frames, picture, video_of

from ttt_cli.adaptation.agreement import MARGIN, mirror_agreement
from ttt_cli.adaptation.memory import Window
from ttt_cli.adaptation.methods import METHODS, constants_of, method_named
from ttt_cli.adaptation.methods.auto import DEAD_ZONES
from ttt_cli.adaptation.methods.class_balance import ClassBalance
from ttt_cli.adaptation.methods.offline import Offline
from ttt_cli.adaptation.methods.online import MaskedReconstruction
from ttt_cli.adaptation.online import Adapter, adapt
from ttt_cli.adaptation.predictors import View, Vote, mirrored
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.classes import CAMVID, VOID
from ttt_cli.core.errors import UsageError
from ttt_cli.core.frame import Frame, Result, Video
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.tasks.semantic import SemanticPrediction, SemanticTask, confident_classes, cross_entropy

CPU = torch.device("cpu")
FIXED = ("main-only", "joint", "clamp", "auto", "majority-vote", "temporal-smoothing", "mirror")
ADAPTING = [name for name in METHODS if name not in FIXED]
# Offline training sees the whole video in advance.
ONLINE = [name for name in ADAPTING if not isinstance(METHODS[name], Offline)]


def adapter_for(
    model: TwoHeadedModel, method: str = "online", familiar_loss: float | None = None, **settings: object
) -> Adapter:
    # The tiny model is never confident, so self-training would have nothing to learn from.
    constants = {"confidence": 0.0} if "confidence" in constants_of(method) else {}
    adaptation = AdaptationSettings(method=method, constants=constants, **settings)  # type: ignore[arg-type]
    reconstruction = ReconstructionSettings(familiar_loss=familiar_loss)
    return Adapter(model, SemanticTask(CAMVID), adaptation, reconstruction, CPU)


def values(model: TwoHeadedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


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


def test_offline_learns_from_the_future(tiny_model: TwoHeadedModel) -> None:
    frames = noise_frames(3)
    first = []
    for sequence in (frames, frames[:1] + noise_frames(3, seed=9)[1:]):
        stream = adapt(video_of(sequence), adapter_for(tiny_model, method="offline"))
        first.append(next(stream).prediction.probabilities)
        stream.close()
    assert not torch.equal(*first)


def test_a_vote_of_one_view_that_changes_nothing_is_the_prediction(tiny_model: TwoHeadedModel) -> None:
    frame = noise_frames(1)[0]
    plain = adapter_for(tiny_model, method="joint").step(frame).prediction
    adapter = adapter_for(tiny_model, method="majority-vote")
    adapter.predictor = Vote(views=(View(),))
    assert torch.equal(adapter.step(frame).prediction.class_map, plain.class_map)


def test_a_vote_takes_the_class_of_most_views(tiny_model: TwoHeadedModel) -> None:
    frame = noise_frames(1)[0]
    mirror, plain = View(mirrored=True), View()
    adapter = adapter_for(tiny_model, method="majority-vote")
    adapter.predictor = Vote(views=(plain, mirror, mirror))
    voted = adapter.step(frame).prediction.class_map
    flipped = Frame(0, "0", 0.0, frame.image.flip(-1))
    assert torch.equal(voted, adapter_for(tiny_model, method="joint").step(flipped).prediction.class_map.flip(-1))


def test_smoothing_averages_the_last_frames(tiny_model: TwoHeadedModel) -> None:
    frames = noise_frames(5)
    plain = [adapter_for(tiny_model, method="joint").step(frame).prediction.probabilities for frame in frames]
    adapter = adapter_for(tiny_model, method="temporal-smoothing")
    smooth = [adapter.step(frame).prediction.probabilities for frame in frames]
    torch.testing.assert_close(smooth[0], plain[0])
    torch.testing.assert_close(smooth[4], (plain[2] + plain[3] + plain[4]) / 3)


def test_class_balance_goes_back_once_classes_are_lost(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = noise_frames(3)
    fixed = [adapter_for(tiny_model, method="joint").step(frame).prediction.probabilities for frame in frames]
    before = values(tiny_model)
    for lost in (True, False):
        monkeypatch.setattr(ClassBalance, "is_lost", lambda *_, lost=lost: lost)
        adapter = adapter_for(tiny_model, method="tent+cb", learning_rate=1e-2)
        seen = [adapter.step(frame).prediction.probabilities for frame in frames]
        assert same(before, values(tiny_model)) == lost
        assert torch.equal(seen[-1], fixed[-1]) == lost
        adapter.restore()


def test_class_balance_counts_classes() -> None:
    maps = torch.arange(4, dtype=torch.uint8).view(2, 2), torch.zeros(2, 2, dtype=torch.uint8)
    four_classes, one_class = (SemanticPrediction(class_map, torch.zeros(4, 1, 1)) for class_map in maps)
    assert ClassBalance("cb", largest_change=2).is_lost(four_classes, one_class)
    assert not ClassBalance("cb", largest_change=3).is_lost(four_classes, one_class)


def test_tent_moves_only_the_scale_and_offset_of_norms(tiny_model: TwoHeadedModel) -> None:
    moving = {id(parameter) for parameter in METHODS["tent"].parameters(tiny_model)}
    names = [name for name, parameter in tiny_model.named_parameters() if id(parameter) in moving]
    assert names
    assert all(parameter.dim() == 1 for parameter in METHODS["tent"].parameters(tiny_model))


def test_any_method_can_be_voted_on_or_smoothed() -> None:
    assert method_named("online+vote").predictor is Vote
    assert isinstance(method_named("tent+cb+smoothing"), ClassBalance)
    for wrong in ("onlin", "online+", "online+cb", "vote", "online+vote+smoothing"):
        with pytest.raises(UsageError, match="is unknown; known: main-only"):
            method_named(wrong)


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
    window = Window(2)
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
    window = Window(1)
    window.push(image)
    window.label(image[0])
    batch = window.sample(20, 0.5, torch.Generator().manual_seed(0))
    assert batch.images.shape == (20, 3, 24, 32)
    for crop, pseudo_labels in zip(*batch, strict=True):
        top, left = divmod(int(crop[0, 0, 0]), 64)
        assert torch.equal(crop, image[:, top : top + 24, left : left + 32])
        assert torch.equal(pseudo_labels, crop[0])
    assert len({int(crop[0, 0, 0]) for crop in batch.images}) > 10


def test_pseudo_labels_are_the_confident_classes_of_frames_already_predicted(tiny_model: TwoHeadedModel) -> None:
    adapter = adapter_for(tiny_model, method="online+self-train")
    first, second = noise_frames(2)
    prediction = adapter.step(first).prediction
    assert torch.equal(adapter.window.pseudo_labels[0], prediction.class_map)
    adapter.window.push(second.image)
    assert set(adapter.window.pseudo_labels[1].flatten().tolist()) == {VOID}

    probabilities = torch.tensor([0.8, 0.2]).view(1, 2, 1, 1).expand(1, 2, 3, 5)
    assert set(confident_classes(probabilities, (12, 20), 0.7).flatten().tolist()) == {0}
    assert set(confident_classes(probabilities, (12, 20), 0.9).flatten().tolist()) == {VOID}


def test_unfamiliar_video_gives_no_pseudo_labels(tiny_model: TwoHeadedModel) -> None:
    before = values(tiny_model)
    frames = noise_frames(4)
    usual = adapter_for(tiny_model, method="online").step(frames[0]).loss
    assert usual is not None
    tiny_model.load_state_dict(before)
    for familiar_loss, labeled in ((None, True), (usual, True), (usual / 2, False)):
        adapter = adapter_for(tiny_model, "online+self-train", familiar_loss)
        list(adapt(video_of(frames), adapter))
        assert [bool((labels != VOID).any()) for labels in adapter.window.pseudo_labels] == [labeled] * 4
        assert same(before, values(tiny_model))


def test_on_unfamiliar_video_self_training_is_plain_online_training(tiny_model: TwoHeadedModel) -> None:
    losses = []
    for method in ("online", "online+self-train"):
        adapter = adapter_for(tiny_model, method, familiar_loss=1e-6)
        losses.append([result.loss for result in adapt(video_of(noise_frames(5)), adapter)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_statistics_follow_only_unfamiliar_video(tiny_model: TwoHeadedModel) -> None:
    before = values(tiny_model)
    outcomes = {}
    for method, familiar_loss in (("online", 1e-6), ("online+ln-adapt", 1e6), ("online+ln-adapt", 1e-6)):
        adapter = adapter_for(tiny_model, method, familiar_loss)
        for frame in noise_frames(3):
            adapter.step(frame)
        outcomes[method, familiar_loss] = values(tiny_model)
        adapter.restore()
        assert same(before, values(tiny_model))
    online, familiar, unfamiliar = outcomes.values()
    assert same(online, familiar)
    moved = {name for name in online if not torch.equal(online[name], unfamiliar[name])}
    assert any(name.endswith("running_mean") for name in moved)


def test_statistics_fade_back_to_the_trained_ones(tiny_model: TwoHeadedModel) -> None:
    trained = dict(values(tiny_model))
    apart = []
    for forgetting in (0.0, 0.5):
        adapter = adapter_for(tiny_model, method="ln-adapt", forgetting=forgetting)
        for frame in noise_frames(3):
            adapter.step(frame)
        now = values(tiny_model)
        apart.append(sum(float((now[n] - trained[n]).abs().sum()) for n in now if n.endswith("running_mean")))
        adapter.restore()
    assert 0 < apart[1] < apart[0]


def test_cross_entropy_leaves_pixels_without_a_label_out() -> None:
    probabilities = torch.tensor([0.8, 0.2]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    labels = torch.full((1, 8, 8), VOID, dtype=torch.uint8)
    assert float(cross_entropy(probabilities, labels)) == 0
    labels[0, 0, :2] = torch.tensor([0, 1])
    assert float(cross_entropy(probabilities, labels)) == pytest.approx(-(math.log(0.8) + math.log(0.2)) / 2)


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


def probabilities_of(results: Iterator[Result]) -> list[torch.Tensor]:
    return [result.prediction.probabilities for result in results]  # type: ignore[attr-defined]


def test_alignment_leaves_familiar_video_alone(tiny_model: TwoHeadedModel) -> None:
    frames = noise_frames(3)
    fixed = probabilities_of(adapt(video_of(frames), adapter_for(tiny_model, "joint")))
    for familiar, same_as_fixed in ((1e6, True), (0.0, False)):
        settings = AdaptationSettings(method="align", constants={"familiar": familiar, "dead_zone": 0.0})
        adapter = Adapter(tiny_model, SemanticTask(CAMVID), settings, ReconstructionSettings(), CPU)
        results = list(adapt(video_of(frames), adapter))
        assert all(result.loss is not None and result.loss > 0 for result in results)
        aligned = probabilities_of(iter(results))
        assert all(torch.equal(*pair) for pair in zip(aligned, fixed, strict=True)) == same_as_fixed


def test_alignment_lowers_the_distance(tiny_model: TwoHeadedModel) -> None:
    frames = [noise_frames(1)[0]] * 12
    losses = [result.loss for result in adapt(video_of(frames), adapter_for(tiny_model, "align", learning_rate=1e-3))]
    assert losses[-1] < 0.9 * losses[0]


def test_clamping_changes_unusual_frames_only(tiny_model: TwoHeadedModel) -> None:
    usual = Frame(0, "usual", 0.0, picture(1))
    for frame, changes in ((usual, False), (noise_frames(1)[0], True)):
        fixed, clamped = (
            probabilities_of(adapt(video_of([frame]), adapter_for(tiny_model, method)))[0]
            for method in ("joint", "clamp")
        )
        assert torch.equal(fixed, clamped) != changes


def test_cotta_predicts_with_the_average_and_restores_weights(tiny_model: TwoHeadedModel) -> None:
    frames = noise_frames(3)
    fixed = probabilities_of(adapt(video_of(frames), adapter_for(tiny_model, "joint")))
    for constants, same_as_fixed in (({"decay": 1.0}, True), ({"decay": 0.5}, False)):
        settings = AdaptationSettings(method="cotta", constants=constants, learning_rate=1e-3)
        adapter = Adapter(tiny_model, SemanticTask(CAMVID), settings, ReconstructionSettings(), CPU)
        averaged = probabilities_of(adapt(video_of(frames), adapter))
        assert all(torch.equal(*pair) for pair in zip(averaged, fixed, strict=True)) == same_as_fixed
    settings = AdaptationSettings(method="cotta", constants={"restored": 1.0}, learning_rate=1e-3)
    adapter = Adapter(tiny_model, SemanticTask(CAMVID), settings, ReconstructionSettings(), CPU)
    before = values(tiny_model)
    for frame in frames:
        adapter.step(frame)
        assert same(before, values(tiny_model))


def test_the_prior_keeps_a_share_of_the_training_statistics(tiny_model: TwoHeadedModel) -> None:
    frames = noise_frames(2)
    batch_norm = tiny_model.encoder.backbone.bn1  # type: ignore[union-attr]
    trained = batch_norm.running_mean.clone()
    adapter = adapter_for(tiny_model, "ln-prior")
    means = []
    for frame in (frames[0], frames[1], frames[0]):
        adapter.step(frame)
        means.append(batch_norm.running_mean.clone())
    assert torch.equal(means[0], means[2])
    assert not torch.equal(means[0], means[1])
    settings = AdaptationSettings(method="ln-prior", constants={"momentum": 1.0})
    adapter.restore()
    Adapter(tiny_model, SemanticTask(CAMVID), settings, ReconstructionSettings(), CPU).step(frames[0])
    assert torch.allclose(means[0], 0.9 * trained + 0.1 * batch_norm.running_mean, atol=1e-6)


@pytest.mark.parametrize("width", [96, 94])
def test_mirror_averages_both_views(tiny_model: TwoHeadedModel, width: int) -> None:
    image = picture(3)[..., :width]
    adapter = adapter_for(tiny_model, "mirror")
    averaged = adapter.predict(Frame(0, "0", 0.0, image)).probabilities
    padded = torch.nn.functional.pad(image, (0, -width % 4, 0, 0), mode="replicate")
    views = [adapter.predict_image(image).probabilities, adapter.predict_image(padded.flip(-1)).probabilities.flip(-1)]
    assert torch.allclose(averaged, torch.stack(views).mean(dim=0))
    if width % 4 == 0:
        mirrored = adapter.predict(Frame(0, "0", 0.0, image.flip(-1))).probabilities
        assert torch.allclose(averaged, mirrored.flip(-1), atol=1e-5)


def test_frames_between_are_not_trained_on(tiny_model: TwoHeadedModel) -> None:
    results = list(adapt(video_of(noise_frames(5)), adapter_for(tiny_model, "online", every=2)))
    assert [result.loss is not None for result in results] == [True, False, True, False, True]


def test_agreement_is_the_share_of_cells_that_do_not_depend_on_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(3)[None].float()

    def probabilities(view: torch.Tensor) -> torch.Tensor:
        by_color = (view[:, 0] > 128).float()
        by_side = (torch.arange(view.shape[-1]) < view.shape[-1] / 2).float().expand_as(by_color)
        upper = (torch.arange(view.shape[-2]) < view.shape[-2] / 4).view(-1, 1)
        first = torch.where(upper, by_side, by_color)
        return torch.stack([first, 1 - first], dim=1)

    monkeypatch.setattr("ttt_cli.adaptation.agreement.class_probabilities", probabilities)
    model: Any = SimpleNamespace(encode=lambda view: view, segment=lambda view: view)
    assert mirror_agreement(model, image) == pytest.approx(0.75)
    assert mirrored(image[..., :94]).shape == image.shape


def test_auto_clamps_as_the_agreement_says(tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def agreement(model: TwoHeadedModel, image: torch.Tensor) -> float:
        asked.append(len(asked) % 3)
        return [0.5, 0.9, 0.7][asked[-1]]

    monkeypatch.setattr("ttt_cli.adaptation.agreement.mirror_agreement", agreement)
    frames = noise_frames(4)
    settings = AdaptationSettings(method="auto", constants={"choose_every": 3})
    adapter = Adapter(tiny_model, SemanticTask(CAMVID), settings, ReconstructionSettings(), CPU)
    chosen = probabilities_of(adapter.step(frame) for frame in frames)
    assert len(asked) == 6
    assert adapter.step(frames[0]).dead_zone == DEAD_ZONES[0]
    assert adapter.clamp.dead_zone == DEAD_ZONES[0]
    expected = AdaptationSettings(method="clamp", constants={"dead_zone": DEAD_ZONES[0]})
    clamping = Adapter(tiny_model, SemanticTask(CAMVID), expected, ReconstructionSettings(), CPU)
    assert all(map(torch.equal, chosen, probabilities_of(clamping.step(frame) for frame in frames)))


def test_auto_is_the_fixed_model_unless_another_is_better_by_a_margin(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    values_in_turn = iter([0.5, 0.5 + 0.9 * MARGIN, 0.5])
    monkeypatch.setattr("ttt_cli.adaptation.agreement.mirror_agreement", lambda model, image: next(values_in_turn))
    adapter, fixed = adapter_for(tiny_model, "auto"), adapter_for(tiny_model, "joint")
    frames = noise_frames(2)
    pairs = zip(*(probabilities_of(map(each.step, frames)) for each in (adapter, fixed)), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert math.isinf(adapter.clamp.dead_zone)
