"""Ice on a lens: feathers that grow from the border of the picture into it, and a film between them."""

from __future__ import annotations

import functools

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ttt_cli.datasets.corruptions.layers import Size, fractal, random_for, size_of

FEATHERS = 260
LENGTH = (30, 130)
"""Of a feather, in pixels."""
BARB_DEGREES = 60
"""Ice is hexagonal."""
BARB_STEP = 4
"""Pixels from one barb of a feather to the next."""
DRAWN_LARGER = 2
"""Factor of the size at which lines are drawn, which smooths them."""
TINT = (0.86, 0.94, 1.0)


@functools.lru_cache(maxsize=4)
def crystals(size: Size) -> Tensor:
    """Light of the ice in 0..1: RGB, (3, H, W). Always the same for a size."""
    feathers = _feathers(size)
    reach = _closeness(size) + 0.7 * (fractal(max(size), 1.6, "frost")[: size[0], : size[1]] - 0.5)
    film = 0.55 * (2 * reach - 0.35).clamp(0, 1) * (0.6 + 0.8 * fractal(max(size), 1, "ice")[: size[0], : size[1]])
    ice = 1 - (1 - film) * (1 - feathers)
    return torch.tensor(TINT)[:, None, None] * ice.clamp(0, 1)


def _closeness(size: Size) -> Tensor:
    """1 at the border and 0 in the middle, (H, W)."""
    height, width = size
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
    return torch.maximum(rows.abs().expand(size), columns.abs().expand(size)) ** 2


def _feathers(size: Size) -> Tensor:
    """(H, W) in 0..1."""
    random = random_for("frost")
    height, width = size
    canvas = Image.new("L", (width * DRAWN_LARGER, height * DRAWN_LARGER))
    draw = ImageDraw.Draw(canvas)
    for _ in range(FEATHERS):
        root = random.uniform((0, 0), (width, height))
        side = random.integers(4)
        root[side % 2] = (side // 2) * (width, height)[side % 2]
        root += random.exponential(0.1, 2) * (np.array((width, height)) / 2 - root)
        inward = np.array((width, height)) / 2 - root
        angle = np.arctan2(inward[1], inward[0]) + random.normal(0, 0.6)
        _draw_feather(draw, root, angle, random.uniform(*LENGTH), int(random.uniform(60, 230)), random)
    smaller = canvas.resize((width, height), Image.Resampling.BOX)
    feathers = torch.from_numpy(np.asarray(smaller, dtype=np.float32) / 255)
    assert size_of(feathers) == size
    return feathers


def _draw_feather(
    draw: ImageDraw.ImageDraw, root: np.ndarray, angle: float, length: float, light: int, random: np.random.Generator
) -> None:
    """Draws a curved stem with barbs on both sides, which are longest near its root."""
    point, bend = root, random.normal(0, 0.012)
    for done in np.arange(0, length, BARB_STEP):
        after = point + BARB_STEP * np.array((np.cos(angle), np.sin(angle)))
        _draw_line(draw, point, after, light)
        for turn in (-1, 1):
            direction = angle + turn * np.radians(BARB_DEGREES + random.normal(0, 6))
            barb = 0.28 * (length - done) * random.uniform(0.2, 1)
            _draw_line(draw, after, after + barb * np.array((np.cos(direction), np.sin(direction))), int(0.7 * light))
        point, angle = after, angle + bend * BARB_STEP


def _draw_line(draw: ImageDraw.ImageDraw, start: np.ndarray, end: np.ndarray, light: int) -> None:
    draw.line([*(start * DRAWN_LARGER), *(end * DRAWN_LARGER)], fill=light, width=DRAWN_LARGER)
