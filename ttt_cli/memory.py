"""The two memories of the paper's section 4.2: past frames kept explicitly, and past training kept in the weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import torch
from torch import Generator, Tensor

from ttt_cli.frame import Frame


class Window:
    """Explicit memory: the current frame and the ones just before it, at most `size` in all (k in the paper).

    size: None keeps every frame. It may change while frames come in, up to `largest`.
    """

    def __init__(self, size: int | None, largest: int | None = None) -> None:
        self.size = size
        self.frames: deque[Frame] = deque(maxlen=largest or size)

    def push(self, frame: Frame) -> None:
        """Takes in the current frame; the oldest one falls out once the window is full."""
        self.frames.append(frame)

    def sample(self, count: int, crop: float, generator: Generator) -> Tensor:
        """`count` frames drawn uniformly with replacement, each cut to a share `crop` of its sides at a random place.

        Returns uint8 (count, 3, crop x H, crop x W).
        """
        within = len(self.frames) if self.size is None else min(self.size, len(self.frames))
        chosen = (torch.randint(within, (count,), generator=generator) + len(self.frames) - within).tolist()
        return torch.stack([_random_crop(self.frames[index].image, crop, generator) for index in chosen])


def _random_crop(image: Tensor, share: float, generator: Generator) -> Tensor:
    for dimension in (-2, -1):
        whole = image.shape[dimension]
        kept = max(1, round(whole * share))
        start = int(torch.randint(whole - kept + 1, (), generator=generator))
        image = image.narrow(dimension, start, kept)
    return image


class Snapshot:
    """A copy of the values of some parameters and statistics, to go back to."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.values = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def capture(self) -> None:
        """Remembers the values that the parameters have now."""
        if self.parameters:
            torch._foreach_copy_(self.values, self.parameters)

    @torch.no_grad()
    def pull(self, share: float) -> None:
        """Moves the parameters this share of the way back to the remembered values."""
        if self.parameters and share > 0:
            torch._foreach_lerp_(self.parameters, self.values, share)

    @torch.no_grad()
    def restore(self) -> None:
        """Gives the parameters the remembered values back, bit for bit."""
        if self.parameters:
            torch._foreach_copy_(self.parameters, self.values)
