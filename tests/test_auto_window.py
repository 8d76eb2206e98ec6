"""The estimate of Theorem 1's best window, on a problem whose best window is known."""

from __future__ import annotations

import pytest
import torch
from conftest import noise_frames
from torch import Tensor

from ttt_cli.adaptation.auto_window import FIRST_FRAME, LARGEST, AutoWindow, best_window
from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.classes import CAMVID
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.tasks.semantic import SemanticTask

DIMENSIONS = 2000


@pytest.mark.parametrize(("speed", "noise"), [(0.05, 0.01), (0.05, 0.1), (0.02, 0.2), (0.01, 0.2)])
def test_the_best_window_of_a_quadratic_is_found(speed: float, noise: float) -> None:
    """l(w, x) = |w - x|^2 / 2: its gradient changes by as much as x does, and a mask adds its noise to every frame."""
    best = ((noise**2 * DIMENSIONS) / speed**2) ** (1 / 3)
    auto = AutoWindow()
    estimate = None
    for time in range(20):
        direction = torch.randn(DIMENSIONS, generator=torch.Generator().manual_seed(1000 + time))
        change = direction / direction.norm() * speed

        def gradient_of(frame: int, mask: int, change: Tensor = change, time: int = time) -> list[Tensor]:
            generator = torch.Generator().manual_seed(10 * time + mask)
            return [-change * (1 - frame) + noise * torch.randn(DIMENSIONS, generator=generator)]

        estimate = auto.estimate(gradient_of)
    assert estimate is not None
    assert estimate.variance == pytest.approx(noise**2 * DIMENSIONS, rel=0.1)
    assert estimate.window == pytest.approx(best, abs=1)


def test_extremes() -> None:
    assert best_window(1.0, 0.0) == LARGEST
    assert best_window(1.0, -0.1) == LARGEST
    assert best_window(0.0, 1.0) == 1
    assert best_window(27.0, 1.0) == 3


def test_the_adapter_follows_the_estimate(tiny_model: TwoHeadedModel) -> None:
    settings = AdaptationSettings(window=4, auto_window=True)
    adapter = Adapter(tiny_model, SemanticTask(CAMVID), settings, ReconstructionSettings(), torch.device("cpu"))
    results = [adapter.step(frame) for frame in noise_frames(FIRST_FRAME + 1)]
    assert [result.window_estimate is None for result in results] == [True] * (FIRST_FRAME - 1) + [False, True]
    estimate = results[-2].window_estimate
    assert estimate is not None
    assert adapter.window.size == estimate.window
