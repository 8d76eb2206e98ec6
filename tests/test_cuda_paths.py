"""Every path from a frame to a prediction and a step on a graphics card, without one: see `fake_card.py`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import COLOR, TINY, adapter_for, new_model, noise_frames
from fake_card import CUDA, FakeCard, FakeEvent, Waited, backward, fake_card, gradients
from test_step_cost import with_head
from torch import Tensor

from ttt_cli.adaptation import auto_window
from ttt_cli.adaptation.device import Compute, place
from ttt_cli.adaptation.methods import METHODS, constants_of
from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.pace import WithinBudget
from ttt_cli.adaptation.predictors import VIEWS, Vote
from ttt_cli.adaptation.settings import AdaptationSettings, Precision
from ttt_cli.core.classes import CAMVID
from ttt_cli.core.frame import Result
from ttt_cli.model.opening import open_weights
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.run.overrides import Overrides
from ttt_cli.run.settings import resolve, task_of
from ttt_cli.tasks.base import Task
from ttt_cli.tasks.semantic import SemanticPrediction, SemanticTask
from ttt_cli.tasks.table import TASKS

FEW_STEPS = {"confidence": 0.0, "steps": 2}
"""Constants of methods: others than the defaults. The tiny model is never confident."""

REMEMBER = ("online", "align", "cotta", "online+self-train", "temporal-smoothing")
"""Methods whose second frame is tested too; an operation that computes nothing takes a millisecond all the same."""


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCard]:
    with fake_card(monkeypatch) as card:
        yield card


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many numbers each call of `Compute.read` wanted. Each of them is 1."""
    wanted: list[int] = []

    def read(*scalars: Tensor) -> list[float]:
        assert all(scalar.device == CUDA and scalar.dim() == 0 for scalar in scalars)
        wanted.append(len(scalars))
        return [1.0] * len(scalars)

    def arrived(total: Tensor) -> float:
        assert total.device.type == "cpu" and total.dim() == 0
        return 1.0

    monkeypatch.setattr(Compute, "read", staticmethod(read))
    monkeypatch.setattr(Compute, "arrived", staticmethod(arrived))
    return wanted


def adapter_on(card: FakeCard, method: str, model: SplitModel | None = None, **settings: object) -> Adapter:
    """An adapter whose model is on the card; to be used within it."""
    model = new_model(TINY, len(CAMVID)) if model is None else model
    card.place(model)
    constants = {name: value for name, value in FEW_STEPS.items() if name in constants_of(method)}
    usual = {"batch": 2, "window": 3, "forgetting": 0.1}
    adaptation = AdaptationSettings(method=method, constants=constants, **(usual | settings))  # type: ignore[arg-type]
    task, reconstruction = SemanticTask(CAMVID), ReconstructionSettings(familiar_loss=1.0)
    with card:
        return Adapter(model, task, adaptation, reconstruction, CUDA)


def results_of(card: FakeCard, adapter: Adapter, count: int = 2) -> list[Result]:
    """Of the first frames of a video; each frame waits for the card once, at its end, for its times."""
    FakeEvent.synchronized = 0
    with card:
        results = [adapter.step(frame) for frame in noise_frames(count)]
        adapter.restore()
    assert FakeEvent.synchronized == count
    return results


@pytest.mark.parametrize("method", METHODS)
def test_every_method_reads_numbers_once_a_step(
    card: FakeCard, reads: list[int], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Class balance is by which classes there are, for which it has to wait.
    monkeypatch.setattr(SemanticPrediction, "present", lambda self: frozenset({0}))
    adapter = adapter_on(card, method)
    if isinstance(adapter.predictor, Vote):
        adapter.predictor.views = VIEWS[1:3]
    results = results_of(card, adapter, count=2 if method in REMEMBER else 1)
    for result in results:
        assert isinstance(result.prediction, SemanticPrediction)
        assert result.prediction.probabilities.device == CUDA
        assert result.loss == (1.0 if adapter.steps else None)
    first = {"align": [1], "online+self-train": [1], "online+ln-adapt": [1], "auto": [1, 3]}.get(method, [])
    later = first if method == "align" else []
    each = [2] * adapter.steps
    assert reads == [*first, *each, *(later + each) * (len(results) - 1)]


@pytest.mark.parametrize(("method", "wanted"), [("align", [1, 2]), ("tent", [2])])
def test_a_forward_pass_that_is_shared(
    card: FakeCard, reads: list[int], method: str, wanted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WithinBudget, "due", lambda self, begins_scene: "interval")
    results_of(card, adapter_on(card, method, budget=1.1, batch=1), count=1)
    assert reads == wanted


@pytest.mark.parametrize(
    ("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_precisions(card: FakeCard, reads: list[int], precision: Precision, expected: torch.dtype) -> None:
    adapter = adapter_on(card, "online", precision=precision)
    seen = set()

    def note(module: object, inputs: object, output: tuple[Tensor, ...]) -> None:
        seen.update(map_.dtype for map_ in output)

    adapter.model.encoder.register_forward_hook(note)
    assert adapter.optimizer is not None
    assert adapter.optimizer.scaler.is_enabled() == (precision == "fp16")
    results_of(card, adapter, count=1)
    assert reads == [2], "the scaler asks for nothing"
    assert seen == {expected}
    assert {parameter.dtype for parameter in adapter.moving} == {torch.float32}


def test_low_memory(card: FakeCard, reads: list[int]) -> None:
    results_of(card, adapter_on(card, "online", low_memory=True), count=1)
    assert reads == [2]


def test_the_automatic_window(card: FakeCard, reads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_window, "FIRST_FRAME", 2)
    results = results_of(card, adapter_on(card, "online", auto_window=True))
    assert results[1].window_estimate is not None
    assert reads == [2, 3, 2]


@pytest.mark.parametrize("task", TASKS)
def test_predictions_of_every_task(card: FakeCard, task: str) -> None:
    model = new_model(COLOR, 0) if task == "colorization" else new_model(TINY, len(CAMVID))
    adapter = adapter_on(card, "joint", model)
    adapter.task = TASKS[task](CAMVID)
    results_of(card, adapter, count=1)


@pytest.mark.parametrize("family", ["mask2former", "segformer", "beit", "oneformer"])
def test_published_models(card: FakeCard, reads: list[int], published: Callable[[str], Path], family: str) -> None:
    weights = open_weights(str(published(family)))
    adapter = adapter_on(card, "online", with_head(published(family)), batch=1)
    adapter.task = published_task(weights)
    results_of(card, adapter, count=1)
    assert reads == [2]


def published_task(weights: object) -> Task:
    return task_of(weights, resolve(weights, None, Overrides(), torch.device("cpu")))  # type: ignore[arg-type]


# The card itself


@pytest.mark.parametrize(
    ("ask", "waits"),
    [
        (lambda on_card: float(on_card.sum()), True),
        (lambda on_card: on_card.sum().item(), True),
        (lambda on_card: bool(on_card.isfinite().all()), True),
        (lambda on_card: on_card.tolist(), True),
        (lambda on_card: on_card.cpu(), True),
        (lambda on_card: on_card.to("cpu", non_blocking=True), False),
        (lambda on_card: float(on_card.sum().to("cpu", non_blocking=True)), True),
        (lambda on_card: on_card[on_card > 0], True),
        (lambda on_card: on_card.unique(), True),
        (lambda on_card: torch.tensor([1.0], device=CUDA), True),
        (lambda on_card: torch.ones(3).to(CUDA), True),
        (lambda on_card: torch.ones(3).to(CUDA, non_blocking=True), True),
        (lambda on_card: torch.cuda.synchronize(), True),
        (lambda on_card: place(torch.ones(3), CUDA), False),
        (lambda on_card: on_card * torch.zeros(3, device=CUDA) + 1, False),
    ],
)
def test_it_tells_of_waits(
    card: FakeCard, ask: Callable[[Tensor], object], waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fake_card.OURS", __file__)
    with card:
        on_card = torch.ones(3, device=CUDA)
        if waits:
            with pytest.raises(Waited):
                ask(on_card)
        else:
            ask(on_card)


def test_it_tells_of_tensors_on_the_wrong_device(card: FakeCard) -> None:
    with card, pytest.raises(RuntimeError, match="same device"):
        torch.ones(3, device=CUDA) + torch.ones(3)


def test_its_backward_pass_is_that_of_pytorch(tiny_model: TwoHeadedModel) -> None:
    other = copy.deepcopy(tiny_model)
    for model, run in ((tiny_model, Tensor.backward), (other, backward)):
        adapter = adapter_for(model, batch=2)
        adapter.window.push(noise_frames(1)[0].image)
        run(adapter.loss(adapter.window.sample(2, 1.0, adapter.generator), adapter.generator))
    for parameter, same in zip(tiny_model.parameters(), other.parameters(), strict=True):
        assert (parameter.grad is None) == (same.grad is None)
        if parameter.grad is not None:
            torch.testing.assert_close(same.grad, parameter.grad, rtol=1e-4, atol=1e-6)
    leaf, unused = torch.ones(2, requires_grad=True), torch.ones(1, requires_grad=True)
    assert [found.tolist() for found in gradients((leaf * leaf).sum(), [leaf, unused])] == [[2, 2], [0]]
