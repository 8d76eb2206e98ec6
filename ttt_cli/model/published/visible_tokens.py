"""Masked pictures of which a plain vision transformer encodes only the tokens that are shown, as MAE does.

Positions are added before tokens are dropped; relative and rotary positions are those of the tokens that are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

POSITIONS = ("RelativePositionBias", "RotaryEmbedding")
"""How the names of the modules end that give positions to every layer."""


class VisibleTokens:
    """The tokens of masked pictures that are encoded: all that show anything.

    Where fewer are shown than in another picture of the batch, hidden ones fill up, so that all keep as many.

    shown: (B, 1, H, W), 1 = shown. patch_pixels: side of a token's patch.
    """

    def __init__(self, shown: Tensor, patch_pixels: int) -> None:
        shows = functional.max_pool2d(shown, patch_pixels).flatten(1)
        self.tokens = shows.shape[1]
        count = max(1, int((shows > 0).sum(dim=1).max()))
        order = (shows > 0).float().argsort(dim=1, descending=True, stable=True)
        self.kept = order[:, :count].sort(dim=1).values
        """Positions among the tokens of patches, ascending: (B, K)."""

    @contextmanager
    def alone(self, model: nn.Module, embeddings: str) -> Iterator[None]:
        """A context in which the model encodes these tokens alone. embeddings: the module that makes the tokens."""
        positions = [module for module in model.modules() if type(module).__name__.endswith(POSITIONS)]
        with ExitStack() as stack:
            stack.enter_context(_output_changed(model.get_submodule(embeddings), self._dropped))
            for module in positions:
                stack.enter_context(_output_changed(module, self._of_kept))
            yield

    def among_all(self, output: Any) -> Any:
        """An encoder's output for these tokens as one for all of them; those that were dropped are zero."""
        return _tokens_changed(output, self._scattered)

    def _dropped(self, output: Any) -> Any:
        return _tokens_changed(output, self._gathered)

    def _gathered(self, states: Tensor) -> Tensor:
        """(B, P + N, C) -> (B, P + K, C), where P tokens, which come first, are of no patch."""
        prefix, patches = states[:, : -self.tokens], states[:, -self.tokens :]
        return torch.cat([prefix, patches.gather(1, self._index(states))], dim=1)

    def _scattered(self, states: Tensor) -> Tensor:
        """(B, P + K, C) -> (B, P + N, C)."""
        count = self.kept.shape[1]
        prefix, patches = states[:, :-count], states[:, -count:]
        empty = states.new_zeros(len(states), self.tokens, states.shape[-1])
        return torch.cat([prefix, empty.scatter(1, self._index(states), patches)], dim=1)

    def _index(self, states: Tensor) -> Tensor:
        return self.kept[..., None].expand(-1, -1, states.shape[-1])

    def _of_kept(self, positions: Any) -> Any:
        """Rotary positions, two of (N, D), become (B, 1, K, D); relative ones, (1, heads, P + N, P + N), become
        (B, heads, P + K, P + K).
        """
        if isinstance(positions, tuple):
            return tuple(values[self.kept][:, None] for values in positions)
        prefix = positions.shape[-1] - self.tokens
        first = torch.arange(prefix, device=self.kept.device).expand(len(self.kept), -1)
        kept = torch.cat([first, self.kept + prefix], dim=1)
        return positions[0][:, kept[:, :, None], kept[:, None, :]].transpose(0, 1)


def _tokens_changed(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """What a module gave, with all tokens in it, (B, N, C), changed."""
    if isinstance(output, Tensor):
        return change(output) if output.dim() == 3 else output
    if isinstance(output, tuple):
        return tuple(_tokens_changed(part, change) for part in output)
    if isinstance(output, dict):
        return type(output)(**{name: _tokens_changed(part, change) for name, part in output.items()})
    return output


@contextmanager
def _output_changed(module: nn.Module, change: Callable[[Any], Any]) -> Iterator[None]:
    """A context in which a module's output is changed."""
    handle = module.register_forward_hook(lambda module, inputs, output: change(output))
    try:
        yield
    finally:
        handle.remove()
