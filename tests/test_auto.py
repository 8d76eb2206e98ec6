"""How `auto` chooses a clamp: the agreement of a frame with its mirror image, and when it is asked for."""

from __future__ import annotations

import math
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import adapter_for, noise_frames, picture, probabilities_of

from ttt_cli.adaptation.agreement import FIRST_FRAMES, MARGIN, ChosenClamp, mirror_agreement
from ttt_cli.adaptation.methods.auto import DEAD_ZONES
from ttt_cli.adaptation.predictors import mirrored
from ttt_cli.core.frame import Frame
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.video.cuts import Cuts


def test_agreement_is_the_share_of_cells_that_do_not_depend_on_the_side() -> None:
    image = picture(3)[None].float()

    def probabilities(view: torch.Tensor) -> torch.Tensor:
        by_color = (view[:, 0] > 128).float()
        by_side = (torch.arange(view.shape[-1]) < view.shape[-1] / 2).float().expand_as(by_color)
        upper = (torch.arange(view.shape[-2]) < view.shape[-2] / 4).view(-1, 1)
        first = torch.where(upper, by_side, by_color)
        return torch.stack([first, 1 - first], dim=1)

    model: Any = SimpleNamespace(encode=lambda view: view, class_probabilities=probabilities)
    assert float(mirror_agreement(model, image)) == pytest.approx(0.75)
    assert mirrored(image[..., :94]).shape == image.shape


def test_auto_clamps_as_the_agreement_says(tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def agreement(model: TwoHeadedModel, image: torch.Tensor) -> torch.Tensor:
        asked.append(len(asked) % 3)
        return torch.tensor([0.5, 0.9, 0.7][asked[-1]])

    monkeypatch.setattr("ttt_cli.adaptation.agreement.mirror_agreement", agreement)
    frames = noise_frames(6)
    adapter = adapter_for(tiny_model, "auto", constants={"choose_every": 4})
    chosen = [adapter.step(frame) for frame in frames]
    assert len(asked) == 3 * len({0, *FIRST_FRAMES} & set(range(6)) | {4})
    assert [result.dead_zone for result in chosen] == [DEAD_ZONES[0]] * 6
    clamping = adapter_for(tiny_model, "clamp", constants={"dead_zone": DEAD_ZONES[0]})
    assert all(map(torch.equal, probabilities_of(iter(chosen)), probabilities_of(map(clamping.step, frames))))


@pytest.mark.parametrize(("later", "chosen"), [([0.6, 0.5], 1.0), ([0.9, 0.5], None)])
def test_auto_goes_by_the_mean_agreement_over_frames(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch, later: list[float], chosen: float | None
) -> None:
    answers = iter([0.5, 0.5, 0.7, later[0], 0.5, later[1]])
    monkeypatch.setattr(
        "ttt_cli.adaptation.agreement.mirror_agreement", lambda model, image: torch.tensor(next(answers))
    )
    adapter = adapter_for(tiny_model, "auto")
    assert [adapter.step(frame).dead_zone for frame in noise_frames(2)] == [1.0, chosen]


def test_auto_asks_familiar_frames_nothing_and_then_starts_anew(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [0.5, 0.9, 0.5, 0.9, 0.5, 0.5]
    monkeypatch.setattr(
        "ttt_cli.adaptation.agreement.mirror_agreement", lambda model, image: torch.tensor(answers.pop(0))
    )
    unusual, other = noise_frames(2)
    usual = Frame(1, "usual", 0.0, picture(1))
    adapter = adapter_for(tiny_model, "auto", constants={"choose_every": 1})
    assert [adapter.step(frame).dead_zone for frame in (unusual, usual)] == [DEAD_ZONES[0], None]
    assert len(answers) == 3
    assert adapter.step(other).dead_zone is None
    assert not answers


def test_auto_starts_anew_after_a_cut(tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([0.5, 0.9, 0.5, 0.5, 0.5, 0.5])
    monkeypatch.setattr(
        "ttt_cli.adaptation.agreement.mirror_agreement", lambda model, image: torch.tensor(next(answers))
    )
    cuts = iter([False, True, False])
    monkeypatch.setattr(Cuts, "begins_scene", lambda self, image: next(cuts))
    adapter = adapter_for(tiny_model, "auto", cuts="reset")
    assert [adapter.step(frame).dead_zone for frame in noise_frames(2)] == [DEAD_ZONES[0], None]


@pytest.mark.parametrize(
    ("every", "choose_every", "asked"),
    [(1, 10, [0, 1, 3, 7, 10, 15, 20]), (4, 10, [0, 1, 3, 8, 12, 16, 20]), (8, 3, [0, 1, 3, 8, 16, 24])],
)
def test_auto_asks_as_often_as_it_says_also_where_few_frames_are_adapted_to(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch, every: int, choose_every: int, asked: list[int]
) -> None:
    adapter = adapter_for(tiny_model, "auto", every=every, constants={"choose_every": choose_every})
    frame = noise_frames(1)[0]
    seen = []
    agreement = ChosenClamp._ask
    monkeypatch.setattr(ChosenClamp, "_ask", lambda *given: (seen.append(adapter.frames - 1), agreement(*given)))
    for _ in range(25):
        adapter.step(frame)
    assert seen == asked


def test_auto_is_the_fixed_model_unless_another_is_better_by_a_margin(
    tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = cycle([0.5, 0.5 + 0.9 * MARGIN, 0.5])
    monkeypatch.setattr(
        "ttt_cli.adaptation.agreement.mirror_agreement", lambda model, image: torch.tensor(next(answers))
    )
    adapter, fixed = adapter_for(tiny_model, "auto"), adapter_for(tiny_model, "joint")
    frames = noise_frames(2)
    pairs = zip(*(probabilities_of(map(each.step, frames)) for each in (adapter, fixed)), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert math.isinf(adapter.clamp.dead_zone)
