"""The light reconstruction head: any maps at any strides, and learning."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from ttt_cli.model.light_head import LightHead


@pytest.mark.parametrize(
    ("channels", "strides", "size"),
    [
        ((8, 12, 16, 24), (4, 8, 16, 32), (64, 96)),
        ((8, 12, 16, 24), (4, 8, 16, 32), (60, 92)),
        ((32,), (16,), (48, 80)),
        ((8, 12), (2, 8), (30, 46)),
    ],
)
def test_reconstructs_the_image_from_any_maps(
    channels: tuple[int, ...], strides: tuple[int, ...], size: tuple[int, int]
) -> None:
    maps = [
        torch.randn(2, of_map, math.ceil(size[0] / stride), math.ceil(size[1] / stride), requires_grad=True)
        for of_map, stride in zip(channels, strides, strict=True)
    ]
    output = LightHead(channels, 16, strides)(maps)
    assert output.shape == (2, 3, *size)
    output.square().sum().backward()
    assert all(values.grad is not None and values.grad.abs().sum() > 0 for values in maps)


def test_learns_to_copy_an_image_that_its_maps_hold() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 16, 24)
    maps = [functional.pixel_unshuffle(image, 4), functional.avg_pool2d(image, 8)]
    head = LightHead((48, 3), 64, (4, 8))
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (head(maps) - image).square().mean()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1 * float(image.square().mean())
