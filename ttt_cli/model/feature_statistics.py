"""How far f's features are from those of ordinary pictures, channel by channel (as in ActMAD, Mirza et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

PREFIX = "ordinary_features."
SMALLEST_SPREAD = 1e-3
SMALLEST_DEVIATION = 1e-4


class FeatureStatistics(nn.Module):
    """Mean and spread, over ordinary pictures, of each channel's mean and of the logarithm of its deviation.

    means, spreads: for each block of f, (C, 2).
    """

    def __init__(self, means: list[Tensor], spreads: list[Tensor]) -> None:
        super().__init__()
        for block, (mean, spread) in enumerate(zip(means, spreads, strict=True)):
            self.register_buffer(f"mean_{block}", mean)
            self.register_buffer(f"spread_{block}", spread)

    @staticmethod
    def of(pictures: Iterable[list[Tensor]]) -> FeatureStatistics:
        """The statistics over some pictures. pictures: for each, what `channel_statistics` gives for it alone."""
        blocks = [torch.cat(of_pictures) for of_pictures in zip(*pictures, strict=True)]
        spreads = [block.std(dim=0).clamp(min=SMALLEST_SPREAD) for block in blocks]
        return FeatureStatistics([block.mean(dim=0) for block in blocks], spreads)

    @staticmethod
    def read(tensors: Mapping[str, Tensor]) -> FeatureStatistics | None:
        """The statistics in the tensors of a weights file, if it has any."""
        blocks = range(sum(name.startswith(f"{PREFIX}mean_") for name in tensors))
        if not blocks:
            return None
        means, spreads = ([tensors[f"{PREFIX}{kind}_{block}"] for block in blocks] for kind in ("mean", "spread"))
        return FeatureStatistics(means, spreads)

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Mean and spread of each block, (C, 2) each."""
        for block in range(len(self._buffers) // 2):
            yield self.get_buffer(f"mean_{block}"), self.get_buffer(f"spread_{block}")

    def distance(self, measured: list[Tensor], dead_zone: float) -> Tensor:
        """How far features lie outside of what is usual: a scalar, 0 on most ordinary pictures.

        measured: what `channel_statistics` gives. The distance from the mean, in spreads, counts from `dead_zone` on;
        it is averaged over a block's channels, then over blocks.
        """
        distances = []
        for values, (mean, spread) in zip(measured, self.blocks(), strict=True):
            distances.append((((values - mean) / spread).abs() - dead_zone).clamp(min=0).mean())
        return torch.stack(distances).mean()


@contextmanager
def recorded_channels(blocks: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Within the context, a forward pass appends each block's channel statistics to the list, (B, C, 2) each:
    a channel's mean and the logarithm of its deviation, over positions.
    """
    measured: list[Tensor] = []

    def measure(block: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        values = (output if isinstance(output, Tensor) else output[0]).float()
        # Convolutions have their channels at dimension 1; transformers have them last, after one dimension of tokens.
        positions = (-2, -1) if values.dim() == 4 else (1,)
        deviation, mean = torch.std_mean(values, dim=positions, correction=0)
        measured.append(torch.stack([mean, (deviation + SMALLEST_DEVIATION).log()], dim=-1))

    handles = [block.register_forward_hook(measure) for block in blocks]
    try:
        yield measured
    finally:
        for handle in handles:
            handle.remove()
