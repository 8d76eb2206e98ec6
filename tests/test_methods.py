"""What is particular to single methods and predictors."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import adapter_for, noise_frames, picture, probabilities_of, same, values, video_of
from torch.nn import functional

from ttt_cli.adaptation import catalog
from ttt_cli.adaptation.methods import METHODS, method_named
from ttt_cli.adaptation.methods.class_balance import ClassBalance
from ttt_cli.adaptation.online import adapt
from ttt_cli.adaptation.pace import WithinBudget
from ttt_cli.adaptation.predictors import PREDICTORS, View, Vote
from ttt_cli.core.classes import VOID
from ttt_cli.core.errors import UsageError
from ttt_cli.core.frame import Frame
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.tasks.semantic import SemanticPrediction, confident_classes, cross_entropy


def test_the_catalog_has_every_method() -> None:
    assert list(catalog.SUMMARIES) == list(METHODS)
    assert list(catalog.ON_TOP) == list(PREDICTORS)
    assert all("\n" not in text and len(text) < 80 for text in catalog.SUMMARIES.values())


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


@pytest.mark.parametrize("lost", [True, False])
def test_class_balance_goes_back_after_a_step_that_shared_the_forward_pass(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    frames = noise_frames(3)
    fixed = [adapter_for(tiny_model, method="joint").step(frame).prediction.probabilities for frame in frames]
    before = values(tiny_model)
    monkeypatch.setattr(WithinBudget, "due", lambda *_: "interval")
    monkeypatch.setattr(ClassBalance, "is_lost", lambda *_: lost)
    adapter = adapter_for(tiny_model, method="tent+cb", learning_rate=1e-2, budget=1.1)
    assert adapter.shares_forward
    seen = [adapter.step(frame).prediction.probabilities for frame in frames]
    assert same(before, values(tiny_model)) == lost
    assert torch.equal(seen[-1], fixed[-1]) == lost


def test_class_balance_compares_only_frames_that_are_adapted_to(tiny_model: TwoHeadedModel) -> None:
    adapter = adapter_for(tiny_model, method="tent+cb", every=3)
    frame = noise_frames(1)[0]
    passes = []
    tiny_model.encoder.register_forward_hook(lambda *_: passes.append(1))
    counts = []
    for _ in range(8):
        passes.clear()
        adapter.step(frame)
        counts.append(len(passes))
    step_prediction_and_fixed = 3
    assert counts == [step_prediction_and_fixed] * 4 + [1, 1, step_prediction_and_fixed, 1]


def test_class_balance_counts_classes() -> None:
    maps = torch.arange(4).view(2, 2), torch.zeros(2, 2, dtype=torch.int64)
    likely = [functional.one_hot(class_map, 4).movedim(-1, 0).float() for class_map in maps]
    four_classes, one_class = (SemanticPrediction(probabilities, (8, 8)) for probabilities in likely)
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
        with pytest.raises(UsageError, match="is unknown; .*known: main-only"):
            method_named(wrong)


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


@pytest.mark.parametrize(("every", "probed"), [(1, [0, 10, 20]), (4, [0, 12, 20]), (16, [0, 16])])
def test_familiarity_is_probed_as_often_as_it_says_also_where_few_frames_are_adapted_to(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch, every: int, probed: list[int]
) -> None:
    adapter = adapter_for(tiny_model, "online+ln-adapt", every=every, constants={"probe_every": 10})
    seen = []
    monkeypatch.setattr(
        "ttt_cli.adaptation.familiarity.looks_familiar", lambda adapter, frame, seed: seen.append(adapter.frames - 1)
    )
    frame = noise_frames(1)[0]
    for _ in range(25):
        adapter.step(frame)
    assert seen == probed


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


def test_alignment_leaves_familiar_video_alone(tiny_model: TwoHeadedModel) -> None:
    frames = noise_frames(3)
    fixed = probabilities_of(adapt(video_of(frames), adapter_for(tiny_model, "joint")))
    for familiar, same_as_fixed in ((1e6, True), (0.0, False)):
        adapter = adapter_for(tiny_model, "align", constants={"familiar": familiar, "dead_zone": 0.0})
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
        adapter = adapter_for(tiny_model, "cotta", constants=constants, learning_rate=1e-3)
        averaged = probabilities_of(adapt(video_of(frames), adapter))
        assert all(torch.equal(*pair) for pair in zip(averaged, fixed, strict=True)) == same_as_fixed
    adapter = adapter_for(tiny_model, "cotta", constants={"restored": 1.0}, learning_rate=1e-3)
    before = values(tiny_model)
    for frame in frames:
        adapter.step(frame)
        assert same(before, values(tiny_model))


def test_cotta_forgets_by_its_own_restoration_alone(tiny_model: TwoHeadedModel) -> None:
    outcomes = []
    for forgetting in (0.0, 0.5):
        adapter = adapter_for(tiny_model, "cotta", constants={"restored": 0.0}, forgetting=forgetting)
        for frame in noise_frames(3):
            adapter.step(frame)
        outcomes.append(values(tiny_model))
        adapter.restore()
    assert same(*outcomes)


def test_the_prior_keeps_a_share_of_the_training_statistics(tiny_model: TwoHeadedModel) -> None:
    frames = noise_frames(2)
    batch_norm = tiny_model.encoder.backbone.bn1  # type: ignore[union-attr]
    trained = batch_norm.running_mean.clone()
    adapter = adapter_for(tiny_model, "ln-prior", forgetting=0.2)
    means = []
    for frame in (frames[0], frames[1], frames[0]):
        adapter.step(frame)
        means.append(batch_norm.running_mean.clone())
    assert torch.equal(means[0], means[2])
    assert not torch.equal(means[0], means[1])
    adapter.restore()
    adapter_for(tiny_model, "ln-prior", constants={"momentum": 1.0}, forgetting=0.2).step(frames[0])
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
