"""Draws predictions over frames: colored regions with light borders, and a legend of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ttt_cli.core.classes import VOID, Class
from ttt_cli.core.errors import TttvError, printable

PANEL_OPACITY = 0.65
BORDER_WHITE = 0.55
"""Share of white in the borders between regions, 0..1."""
SMALLEST_TAGGED = 0.001
"""Objects below this share of the frame get no tag: it would be larger than the object."""


@dataclass(frozen=True)
class Tag:
    """A name to write on an object."""

    text: str
    x: int
    """Column of the object's middle."""
    y: int
    """Row of the object's middle."""
    pixels: int
    """The object's size."""


def overlay(
    image: Tensor,
    class_map: Tensor,
    classes: Sequence[Class],
    *,
    alpha: float = 0.55,
    legend: frozenset[int] | None = None,
    tags: Sequence[Tag] = (),
) -> np.ndarray:
    """The frame with every pixel tinted in its class's color: uint8 RGB (H, W, 3).

    image: uint8 (3, H, W). class_map: uint8 (H, W), indices into `classes`; other ids, such as VOID, are not tinted.
    alpha: opacity of the tint, 0..1. legend: ids to list in a strip at the bottom; by default those in this frame.
    Pass the ids seen in the video so far (see `classes_in`) for a legend that does not flicker.
    tags: names of objects; if two would overlap, the smaller object's is left out.
    """
    ids = class_map.numpy()
    rows = ids.astype(np.uint16) << 8
    result = np.empty((*ids.shape, 3), np.uint8)
    for channel, (values, tinted) in enumerate(zip(image.numpy(), _tinted(tuple(classes), alpha), strict=True)):
        result[:, :, channel] = tinted[rows | values]
    border = _borders(ids)
    result[border] = result[border] * (1 - BORDER_WHITE) + 255 * BORDER_WHITE
    shown = sorted(id for id in (classes_in(class_map) if legend is None else legend) if id < len(classes))
    _write_tags(result, tags)
    _blend_strip(result, *_legend(tuple(classes[id] for id in shown), result.shape[1], result.shape[0] // 3))
    return result


def classes_in(class_map: Tensor) -> frozenset[int]:
    """The ids in `class_map`, uint8 (H, W), without VOID."""
    counts = np.bincount(class_map.numpy().ravel(), minlength=256)
    return frozenset(np.flatnonzero(counts[:VOID]).tolist())


def side_by_side(left: np.ndarray, right: np.ndarray, labels: tuple[str, str]) -> np.ndarray:
    """Two pictures of equal size, uint8 (H, W, 3), side by side with a label on each: uint8 (H, 2W, 3)."""
    joined = np.concatenate([left, right], axis=1)
    width = left.shape[1]
    joined[:, width - 1 : width + 1] = 255
    for start, label in zip((0, width), labels, strict=True):
        tag, opacity = _tag(label, max(width - 8, 1))
        corner = joined[4 : 4 + tag.shape[0], start + 4 : start + 4 + tag.shape[1]]
        _blend(corner, tag[: corner.shape[0], : corner.shape[1]], opacity[: corner.shape[0], : corner.shape[1]])
    return joined


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
def _tinted(classes: tuple[Class, ...], alpha: float) -> np.ndarray:
    """What becomes of each value of a channel with each of 256 ids, at 256 id + value: uint8 (3, 65536)."""
    opacities = np.zeros(256, np.uint16)
    opacities[: len(classes)] = round(alpha * 256)
    colors = np.zeros((256, 3), np.uint16)
    colors[: len(classes)] = [entry.color for entry in classes]
    values = np.arange(256, dtype=np.uint16) * (256 - opacities)[:, None]
    tinted = values + (colors * opacities[:, None]).T[:, :, None]
    return (tinted >> 8).astype(np.uint8).reshape(3, -1)


def _borders(ids: np.ndarray) -> np.ndarray:
    """bool (H, W): the pixels whose right or lower neighbor has another class."""
    border = np.zeros(ids.shape, bool)
    border[:, :-1] = ids[:, :-1] != ids[:, 1:]
    border[:-1] |= ids[:-1] != ids[1:]
    return border


def _font(width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=min(max(width // 44, 10), 40))


@lru_cache(maxsize=64)
def _legend(shown: tuple[Class, ...], width: int, most_height: int) -> tuple[np.ndarray, np.ndarray]:
    """A colored square and a name for each class, in rows: uint8 (h, width, 3), and its opacity, float32 (h, width, 1).

    Classes that do not fit into `most_height` rows of pixels are left out.
    """
    font = _font(width)
    line = int(font.getbbox("Ag")[3] * 1.45)
    gap = line // 2
    items = []
    x, y = gap, gap // 2
    for entry in shown:
        needed = line + int(font.getlength(entry.name)) + gap
        if x + needed > width and x > gap:
            x, y = gap, y + line
        if y + line + gap // 2 > most_height:
            break
        items.append((entry, x, y))
        x += needed
    height = items[-1][2] + line + gap // 2 if items else 0
    strip = Image.new("RGB", (width, height), (12, 12, 16))
    opaque = Image.new("L", (width, height), round(PANEL_OPACITY * 255))
    for entry, x, y in items:
        square = (x, y + line // 6, x + line * 2 // 3, y + line * 5 // 6)
        ImageDraw.Draw(strip).rectangle(square, entry.color, (235, 235, 235))
        ImageDraw.Draw(opaque).rectangle(square, 255)
        for canvas, ink in ((strip, (255, 255, 255)), (opaque, 255)):
            ImageDraw.Draw(canvas).text((x + line, y + line / 2), entry.name, ink, font, anchor="lm")
    return np.asarray(strip), np.asarray(opaque, np.float32)[:, :, None] / 255


@lru_cache(maxsize=256)
def _tag(label: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A label on a dark panel, at most `width` wide: uint8 (h, w, 3) and its opacity, float32 (h, w, 1)."""
    font = _font(width)
    line = int(font.getbbox("Ag")[3] * 1.45)
    size = (min(width, int(font.getlength(label)) + line), line)
    tag = Image.new("RGB", size, (12, 12, 16))
    opaque = Image.new("L", size, round(PANEL_OPACITY * 255))
    for canvas, ink in ((tag, (255, 255, 255)), (opaque, 255)):
        ImageDraw.Draw(canvas).text((line / 2, line / 2), label, ink, font, anchor="lm")
    return np.asarray(tag), np.asarray(opaque, np.float32)[:, :, None] / 255


def _write_tags(image: np.ndarray, tags: Sequence[Tag]) -> None:
    height, width = image.shape[:2]
    taken = np.zeros((height, width), bool)
    for tag in sorted(tags, key=lambda tag: -tag.pixels):
        panel, opacity = _tag(tag.text, width)
        if panel.shape[0] > height or tag.pixels < SMALLEST_TAGGED * height * width:
            continue
        top = min(max(tag.y - panel.shape[0] // 2, 0), height - panel.shape[0])
        left = min(max(tag.x - panel.shape[1] // 2, 0), width - panel.shape[1])
        region = (slice(top, top + panel.shape[0]), slice(left, left + panel.shape[1]))
        if not taken[region].any():
            taken[region] = True
            _blend(image[region], panel, opacity)


def _blend_strip(image: np.ndarray, strip: np.ndarray, opacity: np.ndarray) -> None:
    if len(strip):
        _blend(image[-len(strip) :], strip, opacity)


def _blend(region: np.ndarray, panel: np.ndarray, opacity: np.ndarray) -> None:
    """Draws `panel` over `region`, in place."""
    region[:] = (region * (1 - opacity) + panel * opacity).astype(np.uint8)
