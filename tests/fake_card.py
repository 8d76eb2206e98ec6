"""A graphics card for machines without one: tensors on "cuda" have shapes and types but no values, those on the CPU do.

What a card would do is not computed, but all that is asked of it is checked: that tensors which meet are on the same
device, and that the program never waits for the card. It waits where a value decides (`float`, `if`, `nonzero`), where
something is copied from the card, and where something is copied to it from memory that is not pinned. Waits in other
libraries are let pass, and counted.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from ttt_cli.model.pixels import on_device

OURS = str(Path(__file__).parents[1] / "ttt_cli")
COPIES = ("aten::_to_copy", "aten::copy_")
CUDA = torch.device("cuda", 0)


class Waited(AssertionError):
    """The program waits for the card where it should not."""


class FakeCard(TorchDispatchMode):
    """A context in which there is a card.

    waits: how often other libraries waited, by their module. pinned: what was pinned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fakes = FakeTensorMode(shape_env=ShapeEnv(), static_shapes=True)
        self.waits: Counter[str] = Counter()
        self.pinned: list[Tensor] = []

    def __enter__(self) -> FakeCard:
        # `torch.tensor(..., device="cuda")` then makes a tensor on the CPU and copies it, which can be seen here.
        self._lifted_before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch._C._set_only_lift_cpu_tensors(self._lifted_before)

    def __torch_dispatch__(
        self, function: Any, types: object, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(options or {})
        given = tree_leaves((arguments, options))
        on_card = any(isinstance(leaf, FakeTensor) for leaf in given)
        if not on_card and not any(isinstance(leaf, torch.device) and leaf.type == "cuda" for leaf in given):
            return function(*arguments, **options)
        self._check(function, arguments, options)
        fake = self.fakes.from_tensor
        arguments, options = tree_map_only(
            Tensor, lambda tensor: tensor if isinstance(tensor, FakeTensor) else fake(tensor), (arguments, options)
        )
        with self.fakes:
            return function(*arguments, **options)

    def _check(self, function: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> None:
        name = function._schema.name
        masks = any(tensor.dtype == torch.bool for tensor in tree_leaves(arguments[1:]) if isinstance(tensor, Tensor))
        counts = torch.Tag.dynamic_output_shape in function.tags and (name != "aten::index" or masks)
        if name == "aten::_local_scalar_dense" or counts:
            self._wait(name)
        if name in COPIES:
            source = arguments[0] if name == "aten::_to_copy" else arguments[1]
            target = options.get("device") or source.device if name == "aten::_to_copy" else arguments[0].device
            from_card, to_card = source.device.type == "cuda", torch.device(target).type == "cuda"
            quick = bool(options.get("non_blocking")) or (name == "aten::copy_" and arguments[2:3] == (True,))
            if from_card and not to_card and not quick:  # PyTorch copies to memory that it pins itself.
                self._wait(f"{name} from the card")
            elif to_card and not from_card and not (quick and self._is_pinned(source)):
                self._wait(f"{name} to the card, from memory that is not pinned")

    def _is_pinned(self, tensor: Tensor) -> bool:
        return any(tensor.data_ptr() == pinned.data_ptr() for pinned in self.pinned)

    def _wait(self, what: str) -> None:
        """Raises Waited if it is our code that asked for this; a wait of another library is counted."""
        caller = sys._getframe(2)
        while "/torch/" in caller.f_code.co_filename or caller.f_code.co_filename == __file__:
            assert caller.f_back is not None
            caller = caller.f_back
        if caller.f_code.co_filename.startswith(OURS) and caller.f_code is not on_device.__wrapped__.__code__:
            raise Waited(f"{caller.f_code.co_filename}:{caller.f_lineno}: {what}")
        self.waits[f"{caller.f_globals['__name__']}: {what}"] += 1

    def pin(self, tensor: Tensor) -> Tensor:
        """A copy in pinned memory."""
        assert tensor.device.type == "cpu"
        self.pinned.append(tensor.clone(memory_format=torch.contiguous_format))
        return self.pinned[-1]

    @torch.no_grad()
    def place(self, model: nn.Module) -> None:
        """Moves parameters and buffers to the card, as `Module.to` does; other tensors stay where they are."""
        with self:
            for module in model.modules():
                for name, parameter in module._parameters.items():
                    if parameter is not None:
                        empty = torch.empty_like(parameter, device=CUDA)
                        module._parameters[name] = nn.Parameter(empty, parameter.requires_grad)
                for name, buffer in module._buffers.items():
                    if buffer is not None:
                        module._buffers[name] = torch.empty_like(buffer, device=CUDA)


class FakeEvent:
    """An event in the work of the card. synchronized: how often the program waited for one."""

    synchronized = 0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: object) -> None:
        """Nothing runs, so there is nothing to wait for."""

    def synchronize(self) -> None:
        """Counts."""
        FakeEvent.synchronized += 1

    def elapsed_time(self, ended: FakeEvent) -> float:
        """One millisecond between any two."""
        return 1.0


@contextmanager
def fake_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCard]:
    """A context in which there is a card that computes nothing."""
    card = FakeCard()
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: card.pin(tensor))
    monkeypatch.setattr(Tensor, "backward", lambda loss: backward(loss))
    monkeypatch.setattr(torch.autograd, "grad", lambda loss, inputs, materialize_grads: gradients(loss, inputs))
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    torch._C._ensureCUDADeviceGuardSet()
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)

    def refuse(*arguments: object) -> None:
        raise Waited("torch.cuda.synchronize")

    monkeypatch.setattr(torch.cuda, "synchronize", refuse)
    on_device.cache_clear()
    yield card
    on_device.cache_clear()


def backward(loss: Tensor) -> None:
    """What `Tensor.backward` does. PyTorch's own engine wants a real card, so its nodes are called from here."""
    _walk(loss, lambda leaf, gradient: setattr(leaf, "grad", gradient if leaf.grad is None else leaf.grad + gradient))


def gradients(loss: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What `torch.autograd.grad` gives, with zeros for what the loss does not depend on."""
    found: dict[int, Tensor] = {}

    def add(leaf: Tensor, gradient: Tensor) -> None:
        found[id(leaf)] = found[id(leaf)] + gradient if id(leaf) in found else gradient

    _walk(loss, add)
    return [found.get(id(tensor), torch.zeros_like(tensor)) for tensor in inputs]


@torch.no_grad()
def _walk(loss: Tensor, accept: Callable[[Tensor, Tensor], None]) -> None:
    """Passes gradients from a scalar to the leaves it depends on; each node waits for all that depend on it."""
    assert loss.grad_fn is not None
    waiting: Counter[Any] = Counter()
    seen, stack = {loss.grad_fn}, [loss.grad_fn]
    while stack:
        for node, _ in stack.pop().next_functions:
            if node is not None:
                waiting[node] += 1
                if node not in seen:
                    seen.add(node)
                    stack.append(node)
    arrived: dict[Any, dict[int, Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
    ready: list[Any] = [loss.grad_fn]
    while ready:
        node = ready.pop()
        here = arrived.pop(node, {})
        if hasattr(node, "variable"):
            if here:
                accept(node.variable, here[0])
            continue
        outputs = node(*(here.get(number) for number in range(len(node._input_metadata)))) if here else ()
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for position, (following, number) in enumerate(node.next_functions):
            if following is None:
                continue
            gradient = outputs[position] if position < len(outputs) else None
            if gradient is not None:
                expected = following._input_metadata[number]
                assert gradient.device == expected.device
                gradient = gradient.sum_to_size(expected.shape).to(expected.dtype)
                there = arrived.setdefault(following, {})
                there[number] = there[number] + gradient if number in there else gradient
            waiting[following] -= 1
            if not waiting[following]:
                ready.append(following)
