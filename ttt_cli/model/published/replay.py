"""Replay: any model becomes f and h without a line of its code.

f is called alone and its output kept. For h the model's own forward pass runs as it always does, but where it calls f
it gets that output back. So h is everything that the model does around f, to the bit, and gradients flow into f.
Importing this does not import torch.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

Forward = Callable[..., Any]


class Split(ABC):
    """Where a model is split into f and h."""

    @abstractmethod
    def encoder(self, model: nn.Module) -> nn.Module:
        """f, as a module that holds its parameters."""

    @abstractmethod
    def encode(self, model: nn.Module, pixels: Tensor, inputs: Mapping[str, Tensor]) -> Any:
        """f's output for what the model calls `pixel_values`. inputs: everything else that its forward pass takes."""

    @abstractmethod
    def decode(self, model: nn.Module, pixels: Tensor, inputs: Mapping[str, Tensor], encoded: Any) -> Any:
        """The model's own output, with f's output already known."""

    def padded(self, model: nn.Module, values: Tensor) -> Tensor:
        """Values of pixels, (B, C, h, w), padded as the model pads its pixels before it calls f."""
        return values


class _Reached(Exception):
    """Ends a forward pass at the end of f."""

    def __init__(self, output: Any) -> None:
        self.output = output


@dataclass(frozen=True)
class AtModule(Split):
    """f is one module, which the model calls once."""

    path: str
    """Of the module."""

    def encoder(self, model: nn.Module) -> nn.Module:
        """The module itself."""
        return model.get_submodule(self.path)

    def encode(self, model: nn.Module, pixels: Tensor, inputs: Mapping[str, Tensor]) -> Any:
        """Runs the model up to the end of the module."""
        return output_of(self.encoder(model), lambda: model(pixels, **inputs))

    def decode(self, model: nn.Module, pixels: Tensor, inputs: Mapping[str, Tensor], encoded: Any) -> Any:
        """Runs the model, whose module returns `encoded`."""
        with replaced([(self.encoder(model), lambda *arguments, **options: encoded)]):
            return model(pixels, **inputs)


@dataclass(frozen=True)
class BeforeQueries(Split):
    """f is the layers of a plain ViT before its queries join (EoMT), and the patch embedding."""

    def layers(self, model: nn.Module) -> Sequence[nn.Module]:
        """The layers of f."""
        layers: nn.ModuleList = model.get_submodule("layers")  # type: ignore[assignment]
        config: Any = model.config
        return list(layers)[: len(layers) - config.num_blocks]

    def encoder(self, model: nn.Module) -> nn.Module:
        """Patch embedding and layers."""
        from torch import nn

        return nn.ModuleList([model.get_submodule("embeddings"), *self.layers(model)])

    def encode(self, model: nn.Module, pixels: Tensor, inputs: Mapping[str, Tensor]) -> Any:
        """Runs the model up to the last layer of f."""
        return output_of(self.layers(model)[-1], lambda: model(pixels, **inputs))

    def decode(self, model: nn.Module, pixels: Tensor, inputs: Mapping[str, Tensor], encoded: Any) -> Any:
        """Runs the model, the last of whose layers before the queries returns `encoded`; those before do nothing."""
        *earlier, last = self.layers(model)
        idle: list[tuple[nn.Module, Forward]] = [(layer, lambda states, *rest, **options: states) for layer in earlier]
        with replaced([*idle, (last, lambda *arguments, **options: encoded)]):
            return model(pixels, **inputs)


def output_of(module: nn.Module, run: Callable[[], Any]) -> Any:
    """The module's output in a forward pass, which ends there."""

    def stop(module: nn.Module, inputs: Any, output: Any) -> None:
        raise _Reached(output)

    handle = module.register_forward_hook(stop)
    try:
        run()
    except _Reached as reached:
        return reached.output
    finally:
        handle.remove()
    raise TypeError("the model does not call its encoder")


@contextmanager
def replaced(forwards: Sequence[tuple[nn.Module, Forward]]) -> Iterator[None]:
    """A context in which modules have other forward passes."""
    with ExitStack() as stack:
        for module, forward in forwards:
            stack.callback(_put_back, module, module.__dict__.get("forward"))
            module.forward = forward
        yield


def _put_back(module: nn.Module, forward: Forward | None) -> None:
    """Gives a module its forward pass again. forward: its own; None if it has that of its class."""
    del module.__dict__["forward"]
    if forward is not None:
        module.forward = forward


def with_parts(model: nn.Module, forwards: Mapping[str, Forward]) -> Any:
    """A copy of a model that shares everything with it, but for the forward passes of direct parts of these names.

    Unlike `replaced`, this changes nothing that another thread could be using.
    """
    changed = copy.copy(model)
    changed._modules = dict(model._modules)
    for name, forward in forwards.items():
        part = copy.copy(model.get_submodule(name))
        part.forward = forward
        changed._modules[name] = part
    return changed
