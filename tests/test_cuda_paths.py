"""Every path from a frame to a prediction and a step on a graphics card, without one: see `fake_card.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from conftest import TINY, new_model, noise_frames
from fake_card import CUDA, FakeCard, FakeEvent, Waited, fake_card

from ttt_cli.adaptation.device import Compute
from ttt_cli.adaptation.methods import METHODS, constants_of
from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.classes import CAMVID
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.tasks.semantic import SemanticPrediction, SemanticTask


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCard]:
    with fake_card(monkeypatch) as card:
        yield card


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many numbers each call of `Compute.read` wanted. Each of them is 1."""
    wanted: list[int] = []

    def read(*scalars: torch.Tensor) -> list[float]:
        assert all(scalar.device == CUDA and scalar.dim() == 0 for scalar in scalars)
        wanted.append(len(scalars))
        return [1.0] * len(scalars)

    monkeypatch.setattr(Compute, "read", staticmethod(read))
    return wanted


def run(card: FakeCard, method: str, **settings: object) -> None:
    model = new_model(TINY, len(CAMVID))
    card.place(model)
    constants = {"confidence": 0.0} if "confidence" in constants_of(method) else {}
    adaptation = AdaptationSettings(method=method, constants=constants, batch=2, window=3, forgetting=0.1, **settings)
    with card:
        adapter = Adapter(model, SemanticTask(CAMVID), adaptation, ReconstructionSettings(familiar_loss=1.0), CUDA)
        for frame in noise_frames(2):
            result = adapter.step(frame)
            assert result.prediction.probabilities.device == CUDA
        adapter.restore()


@pytest.mark.parametrize("method", METHODS)
def test_it(card: FakeCard, reads: list[int], method: str, monkeypatch) -> None:
    monkeypatch.setattr(SemanticPrediction, "present", lambda self: frozenset({0}))
    run(card, method)
    print(method, reads, card.waits)
