"""Draws labels over frames: regions tinted and outlined in the colors of their classes, and the names of objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ttt_cli.core.classes import VOID, Class
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.draw.text import PANEL_OPACITY, panel, size_for

SMALLEST_TAGGED = 0.001
"""Objects below this share of the frame get no tag: it would be larger than the object."""
PIXELS_PER_OUTLINE = 400
"""Outlines get one pixel wider for each of these that the shortest side of a frame has."""


@dataclass(frozen=True)
class Tag:
    """A name to write on an object."""

    text: str
    x: int
    """Column of the place to write it on."""
    y: int
    """Row of that place."""
    pixels: int
    """The object's size."""
    color: tuple[int, int, int]
    """The object's color."""


def overlay(image: Tensor, ids: Tensor, colors: Sequence[Class], alpha: float, tags: Sequence[Tag] = ()) -> np.ndarray:
    """The frame with every region tinted in its color, and outlined in it: uint8 RGB (H, W, 3).

    image: uint8 (3, H, W). ids: uint8 (H, W), indices into `colors`; other ids, such as VOID, are not tinted.
    alpha: opacity of the tint, 0..1. tags: names of objects; if two would overlap, the smaller object's is left out.
    """
    regions = ids.numpy()
    rows = regions.astype(np.uint16) << 8
    result = np.empty((*regions.shape, 3), np.uint8)
    for channel, (values, tinted) in enumerate(zip(image.numpy(), _tinted(tuple(colors), alpha), strict=True)):
        result[:, :, channel] = tinted[rows | values]
    if alpha:
        outline = _outlines(regions, 1 + min(regions.shape) // PIXELS_PER_OUTLINE) & (regions < len(colors))
        of_id = np.array([kind.color for kind in colors], np.uint8).reshape(-1, 3)
        result[outline] = of_id[regions[outline]]
    _write_tags(result, tags)
    return result


def shares_of(class_map: Tensor) -> np.ndarray:
    """The share of the frame that each class covers, by id: float64 (VOID,). class_map: uint8 (H, W)."""
    counts = np.bincount(class_map.numpy().ravel(), minlength=256)
    return counts[:VOID] / max(class_map.numel(), 1)


def palette_png(path: Path, class_map: Tensor, colors: Sequence[tuple[int, int, int]]) -> None:
    """Writes a label mask as a palette PNG: pixel values are class ids, shown in the class's color, else in black.

    class_map: uint8 (H, W). Raises TttvError if `path` cannot be written.
    """
    picture = Image.fromarray(class_map.numpy())
    picture.putpalette([value for color in colors for value in color] + [0] * (768 - 3 * len(colors)))
    try:
        picture.save(path, format="PNG")
    except OSError as error:
        raise TttvError(f"{printable(path)}: cannot be written ({error.strerror}); choose another") from error


@lru_cache(maxsize=8)
def _tinted(colors: tuple[Class, ...], alpha: float) -> np.ndarray:
    """What becomes of each value of a channel with each of 256 ids, at 256 id + value: uint8 (3, 65536)."""
    opacities = np.zeros(256, np.uint16)
    opacities[: len(colors)] = round(alpha * 256)
    of_id = np.zeros((256, 3), np.uint16)
    of_id[: len(colors)] = [kind.color for kind in colors]
    values = np.arange(256, dtype=np.uint16) * (256 - opacities)[:, None]
    tinted = values + (of_id * opacities[:, None]).T[:, :, None]
    return (tinted >> 8).astype(np.uint8).reshape(3, -1)


def _outlines(ids: np.ndarray, width: int) -> np.ndarray:
    """bool (H, W): the pixels that have another region at their right or below within `width` pixels."""
    outline = np.zeros(ids.shape, bool)
    for step in range(1, width + 1):
        outline[:, :-step] |= ids[:, :-step] != ids[:, step:]
        outline[:-step] |= ids[:-step] != ids[step:]
    return outline


def _write_tags(image: np.ndarray, tags: Sequence[Tag]) -> None:
    height, width = image.shape[:2]
    taken = np.zeros((height, width), bool)
    for tag in sorted(tags, key=lambda tag: -tag.pixels):
        drawn = panel(tag.text, round(size_for(height, width) * 0.85), width, tag.color)
        if drawn.shape[0] > height or tag.pixels < SMALLEST_TAGGED * height * width:
            continue
        top = min(max(tag.y - drawn.shape[0] // 2, 0), height - drawn.shape[0])
        left = min(max(tag.x - drawn.shape[1] // 2, 0), width - drawn.shape[1])
        region = (slice(top, top + drawn.shape[0]), slice(left, left + drawn.shape[1]))
        if not taken[region].any():
            taken[region] = True
            image[region] = (image[region] * (1 - PANEL_OPACITY) + drawn * PANEL_OPACITY).astype(np.uint8)
