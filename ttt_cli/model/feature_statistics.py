"""What the channels of f are like on ordinary pictures, how far a frame's are from that, and how to bring them back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

DEAD_ZONE = 2.0
"""Spreads by which ordinary pictures differ anyway."""
FAMILIAR = 0.002
"""A frame is familiar if its distance from ordinary pictures, with this dead zone, is at most that."""
SMALLEST_SPREAD = 1e-3
SMALLEST_DEVIATION = 1e-4
Output = Tensor | tuple[Tensor, ...]
"""Of a block of f: a map (B, C, H, W), or tokens (B, N, C), with or without other things after it."""


class FeatureStatistics(nn.Module):
    """Mean and spread, over ordinary pictures, of each channel's mean and of the logarithm of its deviation.

    means, spreads: for each block of f, (C, 2).
    """

    def __init__(self, means: Sequence[Tensor], spreads: Sequence[Tensor]) -> None:
        super().__init__()
        for block, (mean, spread) in enumerate(zip(means, spreads, strict=True)):
            self.register_buffer(f"mean_{block}", mean)
            self.register_buffer(f"spread_{block}", spread)

    @staticmethod
    def of(pictures: Iterable[Sequence[Tensor]]) -> FeatureStatistics:
        """The statistics over some pictures. pictures: what `measured_channels` gives for each alone."""
        blocks = [torch.cat(of_pictures) for of_pictures in zip(*pictures, strict=True)]
        spreads = [block.std(dim=0).clamp(min=SMALLEST_SPREAD) for block in blocks]
        return FeatureStatistics([block.mean(dim=0) for block in blocks], spreads)

    @staticmethod
    def read(tensors: Mapping[str, Tensor], prefix: str) -> FeatureStatistics | None:
        """The statistics among the tensors of a weights file, if it has any. prefix: of their names."""
        blocks = range(sum(name.startswith(f"{prefix}mean_") for name in tensors))
        if not blocks:
            return None
        means, spreads = ([tensors[f"{prefix}{kind}_{block}"] for block in blocks] for kind in ("mean", "spread"))
        return FeatureStatistics(means, spreads)

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Mean and spread of each block, (C, 2) each."""
        for block in range(len(self._buffers) // 2):
            yield self.get_buffer(f"mean_{block}"), self.get_buffer(f"spread_{block}")

    def distance(self, measured: Sequence[Tensor], dead_zone: float) -> Tensor:
        """How far features lie outside of what is usual: a scalar, 0 on most ordinary pictures; see `distances`."""
        return self.distances(measured, dead_zone).mean()

    def distances(self, measured: Sequence[Tensor], dead_zone: float) -> Tensor:
        """The distance of each block of f, (blocks,).

        measured: see `measured_channels`. The distance of a channel from its mean, in spreads, counts from `dead_zone`
        on. It is averaged over the channels of a block.
        """
        distances = []
        for values, (mean, spread) in zip(measured, self.blocks(), strict=True):
            distances.append((((values - mean) / spread).abs() - dead_zone).clamp(min=0).mean())
        return torch.stack(distances)


def channels_of(values: Tensor) -> Tensor:
    """A channel's mean over positions, and the logarithm of its deviation: (B, C, 2) of a block's map or tokens."""
    positions = (-2, -1) if values.dim() == 4 else (1,)
    deviation, mean = torch.std_mean(values.float(), dim=positions, correction=0)
    return torch.stack([mean, (deviation + SMALLEST_DEVIATION).log()], dim=-1)


@contextmanager
def measured_channels(blocks: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Within the context, a forward pass of f appends what `channels_of` gives for each of its blocks to the list."""
    measured: list[Tensor] = []
    with _changed_outputs([(block, lambda values: measured.append(channels_of(values))) for block in blocks]):
        yield measured


@contextmanager
def clamped_channels(
    blocks: Iterable[nn.Module], ordinary: FeatureStatistics, dead_zone: float, largest_gain: float
) -> Iterator[None]:
    """Within the context, the channels of each block of f are shifted and scaled to lie within `dead_zone` spreads.

    Single pictures differ from each other that much. largest_gain: a channel is not amplified more than this; its noise
    would be, too.
    """

    def clamp(mean: Tensor, spread: Tensor) -> Callable[[Tensor], Tensor]:
        def change(values: Tensor) -> Tensor:
            now = channels_of(values)
            wanted = torch.clamp(now, mean - dead_zone * spread, mean + dead_zone * spread)
            # (B, C, 2) becomes two tensors that multiply maps or tokens.
            (mean_now, log_now), (mean_wanted, log_wanted) = (
                (statistics[:, None] if values.dim() == 3 else statistics[:, :, None, None]).unbind(-1)
                for statistics in (now, wanted)
            )
            gain = (log_wanted - log_now).clamp(max=math.log(largest_gain)).exp()
            # Where nothing is clamped, this is values * 1 + 0, so that not a bit changes.
            return (values * gain + (mean_wanted - mean_now * gain)).to(values.dtype)

        return change

    changes = [(block, clamp(*usual)) for block, usual in zip(blocks, ordinary.blocks(), strict=True)]
    with _changed_outputs(changes):
        yield


@contextmanager
def _changed_outputs(changes: Iterable[tuple[nn.Module, Callable[[Tensor], Tensor | None]]]) -> Iterator[None]:
    """Within the context, the output of each module goes through its function, or stays if that returns None."""

    def hook(change: Callable[[Tensor], Tensor | None]) -> Callable[[nn.Module, object, Output], Output | None]:
        def call(module: nn.Module, inputs: object, output: Output) -> Output | None:
            if isinstance(output, Tensor):
                return change(output)
            changed = change(output[0])
            return None if changed is None else (changed, *output[1:])

        return call

    handles = [module.register_forward_hook(hook(change)) for module, change in changes]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
