"""Deformable attention of Mask2Former's pixel decoder, faster on a CPU than by `grid_sample`.

Every query takes, in every head, the weighted sum of the values at some points of each map. Between four cells a value
is interpolated, so this is a weighted sum of four times as many rows of a table of all values: `embedding_bag`, which
writes only the sums to memory. Only the rounding differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

BORDER = 3
"""Rows and columns of zeros around each map: one before it, and two after it, so that no cell lies outside."""


class SamplingGrid:
    """Where the queries, one for each cell of the maps, take their values.

    sizes: (height, width) of each map, in the order of the queries. The S points of a query are in the order head, map,
    point: S = heads x maps x points.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], heads: int, points: int, device: torch.device) -> None:
        self.sizes, self.heads = sizes, heads
        heights, widths = torch.tensor(sizes, device=device).unbind(1)
        cells = (heights + BORDER) * (widths + BORDER)
        self.cells = int(cells.sum())

        def of_points(values: Tensor) -> Tensor:
            return values.repeat_interleave(points).repeat(heads)

        extent = torch.stack([of_points(widths), of_points(heights)])
        middles = torch.cat([_middles(*size, device) for size in sizes], dim=1)
        # In cells of the map that is looked at, borders included: (2, Q, S), x before y.
        self.middles = middles[:, :, None] * extent[:, None] + 0.5
        self.largest = (extent + 1.0)[:, None]
        head = torch.arange(heads, device=device).repeat_interleave(len(sizes) * points)
        self.row = ((of_points(widths) + BORDER) * heads).to(torch.int32)
        self.first = (of_points(cells.cumsum(0) - cells) * heads + head).to(torch.int32)

    def table(self, values: Tensor) -> Tensor:
        """The values of the maps, (Q, C), with borders of zeros: (cells x heads, C / heads)."""
        table = values.new_zeros(self.cells, values.shape[-1])
        cells = [(height + BORDER) * (width + BORDER) for height, width in self.sizes]
        counts = [height * width for height, width in self.sizes]
        for (height, width), inside, part in zip(
            self.sizes, torch.split(values, counts), torch.split(table, cells), strict=True
        ):
            bordered = part.view(height + BORDER, width + BORDER, -1)
            bordered[1 : height + 1, 1 : width + 1] = inside.view(height, width, -1)
        return table.view(self.cells * self.heads, -1)

    def sums(self, values: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """The weighted sums of each query's values, (Q, C).

        values: (Q, C). offsets: of the points from the middle of the query's cell, in cells of their map, (Q, S, 2).
        weights: of the points, (Q, S).
        """
        places = self.middles + offsets.permute(2, 0, 1)
        # Farther out than the border there are only zeros. A diverged model may ask for no place at all.
        places = torch.minimum(places.nan_to_num_().clamp_(min=0), self.largest, out=places)
        corners = places.floor()
        right, below = places.sub_(corners)
        column, row = corners.to(torch.int32)
        index = row.mul_(self.row).add_(column, alpha=self.heads).add_(self.first)
        lower = below.mul_(weights)
        upper = weights - lower
        upper_right, lower_right = upper * right, lower * right
        lower_index = index + self.row
        table, points = self.table(values), weights.shape[-1] // self.heads
        total: Tensor | None = None
        for at, share in (
            (index, upper.sub_(upper_right)),
            (index + self.heads, upper_right),
            (lower_index, lower.sub_(lower_right)),
            (lower_index + self.heads, lower_right),
        ):
            bags = functional.embedding_bag(
                at.view(-1, points), table, per_sample_weights=share.view(-1, points), mode="sum"
            )
            total = bags if total is None else total.add_(bags)
        assert total is not None
        return total.view(len(values), -1)


def _middles(height: int, width: int, device: torch.device) -> Tensor:
    """Where the middles of a map's cells lie, as shares of its sides: (2, height x width), x before y."""
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    return torch.stack([x[None].expand(height, width), y[:, None].expand(height, width)]).flatten(1)


def attend(attention: Any, states: Tensor, positions: Tensor, grid: SamplingGrid) -> Tensor:
    """What a deformable attention of transformers' Mask2Former gives for the cells of one picture, (Q, C).

    states, positions: (Q, C).
    """
    queries = states + positions
    offsets = attention.sampling_offsets(queries).view(len(queries), -1, 2)
    scores = attention.attention_weights(queries).view(len(queries), attention.n_heads, -1)
    summed = grid.sums(attention.value_proj(states), offsets, scores.softmax(dim=-1).flatten(1))
    output: Tensor = attention.output_proj(summed)
    return output
