"""The two memories of the paper's section 4.2: past frames kept explicitly, and past training kept in the weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ttt_cli.core.classes import VOID


class Batch(NamedTuple):
    """What a step trains on. images: uint8 RGB (B, 3, H, W). pseudo_labels: uint8 (B, H, W), 255 = none."""

    images: Tensor
    pseudo_labels: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(self.images.to(device), self.pseudo_labels.to(device))


class Window:
    """Explicit memory: the current frame and the ones just before it, at most `size` in all (k in the paper).

    size: None keeps every frame. It may change while frames come in, up to `largest`.
    images: uint8 RGB (3, H, W) each. pseudo_labels: uint8 (H, W) each, 255 where the model gave none.
    """

    def __init__(self, size: int | None, largest: int | None = None) -> None:
        self.size = size
        self.images: deque[Tensor] = deque(maxlen=largest or size)
        self.pseudo_labels: deque[Tensor] = deque(maxlen=largest or size)

    def push(self, image: Tensor) -> None:
        """Takes in the current frame; the oldest one falls out once the window is full."""
        self.images.append(image)
        self.pseudo_labels.append(torch.tensor(VOID, dtype=torch.uint8).expand(image.shape[-2:]))

    def clear(self) -> None:
        """Forgets all frames."""
        self.images.clear()
        self.pseudo_labels.clear()

    def label(self, pseudo_labels: Tensor) -> None:
        """Takes in the model's own labels of the current frame."""
        self.pseudo_labels[-1] = pseudo_labels.cpu()

    def only(self, frames_back: int) -> Batch:
        """A batch of one: the frame so many before the current one."""
        return Batch(self.images[-1 - frames_back][None], self.pseudo_labels[-1 - frames_back][None])

    def sample(self, count: int, crop: float, generator: Generator) -> Batch:
        """`count` frames drawn uniformly with replacement, each a random cut of a share `crop` of its sides."""
        seen = len(self.images)
        within = seen if self.size is None else min(self.size, seen)
        chosen = (torch.randint(within, (count,), generator=generator) + seen - within).tolist()
        parts = [_random_crop((self.images[index], self.pseudo_labels[index]), crop, generator) for index in chosen]
        images, pseudo_labels = zip(*parts, strict=True)
        return Batch(torch.stack(images), torch.stack(pseudo_labels))


def _random_crop(maps: tuple[Tensor, ...], share: float, generator: Generator) -> tuple[Tensor, ...]:
    """All maps, (..., H, W), cut alike."""
    for dimension in (-2, -1):
        whole = maps[0].shape[dimension]
        kept = max(1, round(whole * share))
        start = int(torch.randint(whole - kept + 1, (), generator=generator))
        maps = tuple(one.narrow(dimension, start, kept) for one in maps)
    return maps


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

    @contextmanager
    def restored(self) -> Iterator[None]:
        """The parameters have the remembered values within, and those of before behind it."""
        moved = Snapshot(self.parameters)
        self.restore()
        try:
            yield
        finally:
            moved.restore()
