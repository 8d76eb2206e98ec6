"""Finds in any encoder what adaptation needs: its blocks, its maps, and its first layer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LISTS = (nn.ModuleList, nn.Sequential)


def blocks_of(encoder: nn.Module, run: Callable[[], Any]) -> list[nn.Module]:
    """The innermost members of the encoder's lists of modules that a forward pass calls once, in its order.

    run: makes such a pass. Members without parameters and those whose output is neither a map nor tokens are left out.
    """
    called: list[nn.Module] = []
    outputs: list[Any] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        called.append(module)
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handles = [module.register_forward_hook(note) for module in _innermost(encoder)]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    fits = [isinstance(output, Tensor) and output.dim() in (3, 4) for output in outputs]
    return [module for module, fit in zip(called, fits, strict=True) if fit and called.count(module) == 1]


def _innermost(encoder: nn.Module) -> Iterator[nn.Module]:
    seen = set()
    for group in encoder.modules():
        for member in group.children() if isinstance(group, LISTS) else ():
            is_innermost = not any(isinstance(part, LISTS) for part in member.modules())
            if is_innermost and id(member) not in seen and any(True for _ in member.parameters()):
                seen.add(id(member))
                yield member


def maps_of(output: Any, pixels_size: tuple[int, int], patch_pixels: int | None) -> list[Tensor]:
    """The maps in an encoder's output, of each size the deepest, finest first: (B, C, h, w) each.

    pixels_size: (H, W) of its input. patch_pixels: side of a token's patch, for encoders that give tokens; class and
    register tokens, which come first, are left out.
    """
    if isinstance(output, Tensor):
        states: Sequence[Tensor] = [output]
    elif isinstance(output, list):
        states = output
    elif isinstance(output, dict) and getattr(output, "feature_maps", None) is None and "hidden_states" not in output:
        states = list(output.values())
    else:
        states = getattr(output, "feature_maps", None) or output.hidden_states
    by_size = {}
    for state in states:
        if state.dim() == 3:
            assert patch_pixels is not None, "tokens have patches"
            height, width = (side // patch_pixels for side in pixels_size)
            state = state[:, -height * width :].transpose(1, 2).reshape(len(state), -1, height, width)
        by_size[state.shape[-2:]] = state
    return [by_size[size] for size in sorted(by_size, reverse=True)]


def first_convolution(encoder: nn.Module) -> nn.Conv2d:
    """The layer that sees the colors or grays."""
    return next(
        module for module in encoder.modules() if isinstance(module, nn.Conv2d) and module.in_channels in (1, 3)
    )


class MaskInput(nn.Module):
    """One more input channel, which tells an encoder of colors or of grays which pixels are shown (paper, section 4.3).

    Its part of the first convolution is added to that layer's output. So it changes nothing where nothing is hidden,
    and the published weights stay as they are.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        first = first_convolution(encoder)
        self.weight = nn.Parameter(torch.zeros_like(first.weight[:, :1]))
        self._first = [first]  # In a list, so that it is no part of this module.

    @property
    def first(self) -> nn.Conv2d:
        """The encoder's first layer."""
        return self._first[0]

    @contextmanager
    def applied(self, hidden: Tensor) -> Iterator[None]:
        """A context in which the encoder's first layer is told what is hidden. hidden: (B, 1, H, W), 1 = hidden."""
        first = self.first
        # The same layer with our weights and without a bias, since subclasses have paddings of their own.
        twin = copy.copy(first)
        twin._parameters = {"weight": self.weight, "bias": None}

        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            # Some models pad their input themselves before this layer.
            below, right = (have - know for have, know in zip(inputs[0].shape[-2:], hidden.shape[-2:], strict=True))
            padding = (right // 2, right - right // 2, below // 2, below - below // 2)
            return output + twin.forward(functional.pad(hidden, padding))

        handle = first.register_forward_hook(add)
        try:
            yield
        finally:
            handle.remove()
