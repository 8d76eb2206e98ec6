"""The masks of COCO's annotations: polygons, and run lengths as lists or in COCO's text form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.labels import Rle
from ttt_cli.datasets.json_file import checked, field


def mask_of(segmentation: Any, size: tuple[int, int], path: Path) -> Rle:
    """The mask of a segmentation in a picture of `size` (height, width); `path` is the file it comes from.

    Raises TttvError if it is malformed. Everything is checked first, because pycocotools does not check its input.
    """
    if isinstance(segmentation, dict):
        return _of_runs(segmentation, size, path)
    polygons = [_polygon(content, size, path) for content in checked(segmentation, list, "'segmentation'", path)]
    # Two points are a line; pycocotools would read their four numbers as a box.
    drawn = [polygon for polygon in polygons if len(polygon) >= 6]
    mask: Rle = coco_mask.merge(coco_mask.frPyObjects(drawn, *size)) if drawn else _encoded([size[0] * size[1]], size)
    return mask


def _polygon(content: Any, size: tuple[int, int], path: Path) -> list[float]:
    """x, y, x, y ..."""
    numbers = checked(content, list, "a polygon", path)
    if len(numbers) % 2 or any(type(number) not in (int, float) for number in numbers):
        raise TttvError(f"{printable(path)}: a polygon must be a list of x, y, x, y ...; correct it")
    # Points just outside are common. Points far outside would make pycocotools draw very long lines.
    for value, length in zip(numbers, [size[1], size[0]] * (len(numbers) // 2), strict=True):
        if not -length <= value <= 2 * length:
            shown = repr(value)[:20]
            raise TttvError(f"{printable(path)}: a polygon has a point at {shown}, far off its picture; correct it")
    return numbers


def _of_runs(segmentation: dict[str, Any], size: tuple[int, int], path: Path) -> Rle:
    stated = field(segmentation, "size", list, path)
    if stated != list(size):
        shown = printable(repr(stated)[:40])
        raise TttvError(f"{printable(path)}: a mask is of {shown} rows and columns, but its picture of {list(size)}")
    counts = segmentation.get("counts")
    runs = _parsed(counts) if isinstance(counts, str) else checked(counts, list, "'counts'", path)
    if any(type(run) is not int or run < 0 for run in runs) or sum(runs) != size[0] * size[1]:
        raise TttvError(f"{printable(path)}: the run lengths of a mask do not add up to its picture; correct it")
    return _encoded(runs, size)


def _encoded(runs: list[int], size: tuple[int, int]) -> Rle:
    mask: Rle = coco_mask.frPyObjects({"size": list(size), "counts": runs}, *size)
    return mask


def _parsed(text: str) -> list[int]:
    """The run lengths in COCO's text form; empty if the text is malformed.

    Each character holds five bits, lowest first, and a flag that more follow. The top bit of the last character is the
    sign. From the fourth on, a number is the difference to the number two places before it.
    """
    runs: list[int] = []
    value = bits = 0
    for code in map(ord, text):
        chunk = code - ord("0")
        if not 0 <= chunk < 64 or bits > 30:
            return []
        value |= (chunk & 31) << bits
        bits += 5
        if not chunk & 32:
            value -= (chunk >> 4) << bits
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    return [] if bits else runs
