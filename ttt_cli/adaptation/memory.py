"""The two memories of the paper's section 4.2: past frames (explicit), and past training in the weights (implicit)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ttt_cli.adaptation.device import Compute, place
from ttt_cli.core.classes import VOID
from ttt_cli.core.resumable import Resumable


class Batch(NamedTuple):
    """What a step trains on."""

    images: Tensor
    """uint8 RGB (B, 3, H, W)."""
    pseudo_labels: Tensor
    """uint8 (B, H, W), 255 = none."""

    def on(self, compute: Compute) -> Batch:
        """The same batch on the device."""
        return Batch(compute.place(self.images), compute.place(self.pseudo_labels))


class Window(Resumable):
    """Explicit memory: the current frame and the frames just before it, at most `size` in all (k in the paper).

    size: None keeps every frame. It may change during the video, up to `largest`.
    images: uint8 RGB (3, H, W) each, on the CPU. pseudo_labels: uint8 (H, W) each, 255 = none. They stay on the device
    that they are made on, so that nothing waits for them.
    """

    varying = ("size", "images", "pseudo_labels")

    def __init__(self, size: int | None, largest: int | None, device: torch.device) -> None:
        self.size = size
        self.no_label = torch.full((), VOID, dtype=torch.uint8, device=device)
        self.images: deque[Tensor] = deque(maxlen=largest or size)
        self.pseudo_labels: deque[Tensor] = deque(maxlen=largest or size)

    def push(self, image: Tensor) -> None:
        """Adds the current frame; if the window is full, the oldest frame is dropped."""
        self.images.append(image)
        self.pseudo_labels.append(self.no_label.expand(image.shape[-2:]))

    def clear(self) -> None:
        """Drops all frames."""
        self.images.clear()
        self.pseudo_labels.clear()

    def label(self, pseudo_labels: Tensor) -> None:
        """Stores the model's own labels of the current frame."""
        self.pseudo_labels[-1] = pseudo_labels

    def only(self, frames_back: int) -> Batch:
        """A batch of one frame: `frames_back` before the current one."""
        return Batch(self.images[-1 - frames_back][None], self.pseudo_labels[-1 - frames_back][None])

    def sample(self, count: int, crop: float, generator: Generator) -> Batch:
        """Draws `count` frames uniformly with replacement, each cropped at random to a share `crop` of its sides."""
        kept = len(self.images)
        in_window = kept if self.size is None else min(self.size, kept)
        chosen = (torch.randint(in_window, (count,), generator=generator) + kept - in_window).tolist()
        crops = [_random_crop((self.images[index], self.pseudo_labels[index]), crop, generator) for index in chosen]
        images, pseudo_labels = zip(*crops, strict=True)
        return Batch(torch.stack(images), torch.stack(pseudo_labels))


def _random_crop(maps: tuple[Tensor, ...], share: float, generator: Generator) -> tuple[Tensor, ...]:
    """All maps, (..., H, W), cropped to the same random place."""
    for dimension in (-2, -1):
        side = maps[0].shape[dimension]
        kept = max(1, round(side * share))
        start = int(torch.randint(side - kept + 1, (), generator=generator))
        maps = tuple(tensor.narrow(dimension, start, kept) for tensor in maps)
    return maps


class Snapshot:
    """A copy of the values of some parameters or statistics, which can be restored."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.values = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def capture(self) -> None:
        """Remembers the parameters' current values."""
        if self.parameters:
            torch._foreach_copy_(self.values, self.parameters)

    @torch.no_grad()
    def pull(self, share: float) -> None:
        """Moves the parameters this share of the way back to the remembered values."""
        if self.parameters and share > 0:
            torch._foreach_lerp_(self.parameters, self.values, share)

    @torch.no_grad()
    def approach(self, share: float) -> None:
        """Moves the remembered values this share of the way to the parameters, so that they become an average."""
        if self.parameters:
            torch._foreach_lerp_(self.values, self.parameters, share)

    @torch.no_grad()
    def restore_some(self, chance: float, generator: Generator) -> None:
        """Sets each single weight to its remembered value with this chance. generator: on the CPU."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            chosen = place(torch.rand(parameter.shape, generator=generator) < chance, parameter.device)
            parameter.copy_(torch.where(chosen, value, parameter))

    @torch.no_grad()
    def restore(self) -> None:
        """Sets the parameters to the remembered values, bit for bit."""
        if self.parameters:
            torch._foreach_copy_(self.parameters, self.values)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """A context in which the parameters have the remembered values; afterwards they are as before."""
        moved = Snapshot(self.parameters)
        self.restore()
        try:
            yield
        finally:
            moved.restore()
