"""When frames are adapted to: every n-th, or within a budget of time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
import torch
from conftest import adapter_for, noise_frames, probabilities_of, same, values, video_of

from ttt_cli.adaptation.online import adapt
from ttt_cli.adaptation.pace import FIRST_FRAMES, LONGEST_PAUSE, SAVED_STEPS, EveryNth, Pace, WithinBudget
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.errors import UsageError
from ttt_cli.core.frame import Timing
from ttt_cli.model.two_headed import TwoHeadedModel


@dataclass
class Drive:
    """Runs a pace over made-up frames whose predictions take 100 ms."""

    pace: Pace
    step_milliseconds: float = 300.0
    shares: bool = False
    """Whether steps at even distances share the prediction's forward pass, and are timed with it."""
    spent: float = 0.0

    def frame(self, scene: bool = False, loss: float = 1.0, at_rest: bool = False, slow: float = 1.0) -> str | None:
        """The next frame. slow: factor of all times, as on a machine that is busy with other things."""
        why = self.pace.due(scene)
        adapt = self.step_milliseconds if why else 0.0
        self.spent += adapt
        shared = adapt if self.shares and why == "interval" else 0.0
        timing = Timing((adapt - shared) * slow, (100.0 + shared) * slow)
        self.pace.record(timing, loss if why else None, at_rest and why is not None)
        return why


def test_every_nth_frame_and_the_first_of_a_scene() -> None:
    pace = EveryNth(5)
    whys = [pace.due(index == 12) for index in range(23)]
    first = ["scene"] * FIRST_FRAMES
    assert whys == [
        *first,
        None,
        "interval",
        *[None] * 4,
        "interval",
        None,
        *first,
        None,
        "interval",
        *[None] * 4,
        "interval",
    ]


@pytest.mark.parametrize("length", [100, 2000, None])
@pytest.mark.parametrize(("budget", "step"), [(1.1, 300.0), (1.1, 30.0), (1.25, 300.0), (2.0, 450.0), (2.0, 300.0)])
@pytest.mark.parametrize("shares", [False, True])
def test_a_run_stays_within_its_budget_and_uses_it(
    budget: float, step: float, length: int | None, shares: bool
) -> None:
    drive = Drive(WithinBudget(budget, length), step, shares)
    frames = length or 2000
    for _ in range(frames):
        drive.frame()
    ratio = 1 + drive.spent / (100.0 * frames)
    assert ratio <= budget + step / 100 / frames
    # What is still saved for a change of the video is not spent.
    saved = min((SAVED_STEPS + 1) * step / 100, 0.5 * (budget - 1) * frames)
    assert ratio >= budget - (saved + step / 100) / frames


def test_a_scene_is_adapted_to_at_once_and_later_frames_at_distances() -> None:
    drive = Drive(WithinBudget(1.25, 1000), 100.0)
    whys = [drive.frame() for _ in range(400)]
    assert whys[:8] == ["scene"] * 8
    assert set(whys[8:]) == {None, "interval"}
    after_cut = [drive.frame(scene=index == 0) for index in range(20)]
    assert after_cut[:8] == ["scene"] * 8


def test_a_loss_that_jumps_is_answered_at_once() -> None:
    drive = Drive(WithinBudget(1.25, 1000), 100.0)
    for _ in range(400):
        drive.frame(loss=1.0)
    while drive.frame(loss=2.0) is None:
        pass
    assert [drive.frame(loss=2.0) for _ in range(3)] == ["change"] * 3


def test_a_method_at_rest_is_asked_ever_less_often_until_a_scene_begins() -> None:
    drive = Drive(WithinBudget(1.5, 1000), 1.0)
    due = [index for index in range(400) if drive.frame(at_rest=True)]
    assert [after - before for before, after in itertools.pairwise(due)][:6] == [2, 4, 8, 16, 32, 64]
    assert drive.frame(scene=True) == "scene"


def test_a_machine_that_is_busy_in_bursts_does_not_starve_a_method() -> None:
    calm, busy = Drive(WithinBudget(1.1, 1000)), Drive(WithinBudget(1.1, 1000))
    steps = [
        sum(drive.frame(slow=slow) is not None for slow in speeds)
        for drive, speeds in (
            (calm, [1.0] * 1000),
            (busy, [20.0 if index // 10 % 10 == 0 else 1.0 for index in range(1000)]),
        )
    ]
    assert steps[1] > 0.5 * steps[0]


def test_even_a_step_that_costs_too_much_has_its_turn() -> None:
    drive = Drive(WithinBudget(1.0, None), 100_000.0)
    due = [index for index in range(300) if drive.frame()]
    assert due == list(range(0, 300, LONGEST_PAUSE))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"budget": 0.5}, "at least 1"),
        ({"budget": float("inf")}, "at least 1"),
        ({"budget": 1.1, "every": 2}, "leave out one"),
        ({"every": 0}, "every"),
    ],
)
def test_paces_that_make_no_sense_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        AdaptationSettings(**settings)  # type: ignore[arg-type]


def test_a_first_step_that_is_slow_does_not_put_off_the_next_ones() -> None:
    drive = Drive(WithinBudget(1.25, 100), 600.0)
    assert drive.frame() == "scene"
    drive.step_milliseconds = 300.0
    assert sum(drive.frame() is not None for _ in range(99)) >= 4


# In the loop


def always(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Every frame is due for this reason, whatever it costs."""
    monkeypatch.setattr(WithinBudget, "due", lambda self, begins_scene: why)


@pytest.mark.parametrize("method", ["online", "align", "tent", "auto", "ln-adapt"])
def test_frames_that_are_not_due_are_predicted_alone(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    dues = iter(["scene", None, None])
    monkeypatch.setattr(WithinBudget, "due", lambda self, begins_scene: next(dues))
    adapter = adapter_for(tiny_model, method, budget=1.1)
    frames = noise_frames(3)
    results = [adapter.step(frames[0])]
    moved = values(tiny_model)
    results += [adapter.step(frame) for frame in frames[1:]]
    assert same(moved, values(tiny_model))
    assert [result.adapted for result in results] == ["scene", None, None]
    assert [result.loss for result in results[1:]] == [None, None]


def test_methods_that_never_adapt_are_never_due(tiny_model: TwoHeadedModel) -> None:
    for method in ("joint", "clamp", "mirror"):
        adapter = adapter_for(tiny_model, method, budget=1.1)
        assert {result.adapted for result in adapt(video_of(noise_frames(3)), adapter)} == {None}


@pytest.mark.parametrize("method", ["align", "tent"])
def test_a_prediction_and_a_step_share_one_forward_pass(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    frame = noise_frames(1)[0]
    apart = adapter_for(tiny_model, method, window=1)
    loss = apart.step(frame).loss
    moved = values(tiny_model)
    apart.restore()
    fixed = probabilities_of(iter([adapter_for(tiny_model, "joint").step(frame)]))

    always(monkeypatch, "interval")
    together = adapter_for(tiny_model, method, budget=1.1)
    passes = []
    handle = tiny_model.encoder.register_forward_hook(lambda *_: passes.append(1))
    result = together.step(frame)
    handle.remove()
    assert len(passes) == 1
    assert result.loss == loss
    assert same(moved, values(tiny_model))
    # Its f went through the forward pass of training, whose rounding is another than that of predictions.
    assert all(map(torch.allclose, probabilities_of(iter([result])), fixed))
    assert not same(moved, (together.restore(), values(tiny_model))[1])


def test_the_first_frames_of_a_scene_are_adapted_to_before_they_are_predicted(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = noise_frames(1)[0]
    always(monkeypatch, "scene")
    first = adapter_for(tiny_model, "align", budget=1.1, window=1)
    with_budget = probabilities_of(iter([first.step(frame)]))
    first.restore()
    paper = adapter_for(tiny_model, "align", window=1)
    assert all(map(torch.equal, with_budget, probabilities_of(iter([paper.step(frame)]))))


def test_on_familiar_video_no_graph_is_kept_and_nothing_moves(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    always(monkeypatch, "interval")
    adapter = adapter_for(tiny_model, "align", budget=1.1, constants={"familiar": 1e6})
    before = values(tiny_model)
    kept = []
    handle = tiny_model.encoder.register_forward_hook(lambda m, i, output: kept.append(output[0].requires_grad))
    for frame in noise_frames(3):
        adapter.step(frame)
    handle.remove()
    assert kept == [True, False, False]
    assert adapter.at_rest
    assert same(before, values(tiny_model))
