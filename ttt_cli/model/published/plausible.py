"""Configs from anybody: what would keep a library busy for hours, or in all of the memory, is refused before."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from ttt_cli.core.errors import TttvError, printable

LARGEST_NUMBER = 1_000_000
MOST_LAYERS = 200
LAYERS = re.compile(r"layers|depth|blocks|stages")
"""In the names of what says how often a part is there."""
LARGEST_SIDE = 8192
"""Of pictures that an image processor makes, in pixels."""
SIDES = re.compile(r"height|width|edge|^size$")
MOST_LEVELS = 20
LONGEST_VALUE = 40
"""Characters of a value that an error repeats."""


def _require_whole(table: dict[str, Any], path: Path) -> None:
    """Raises TttvError if transformers would ask a network for the backbone, or for its weights."""
    name = table.get("backbone")
    is_timm = table.get("model_type") == "timm_backbone" and not table.get("use_pretrained_backbone")
    if isinstance(name, str) and (not is_timm or re.search(r"[/:]", name)):
        shown = printable(name[:LONGEST_VALUE])
        raise TttvError(f"{printable(path)}: its backbone {shown} would be downloaded; take a model that is whole")


def require_plausible(content: dict[str, Any], path: Path, largest_size: int = LARGEST_NUMBER) -> None:
    """Raises TttvError if a number in a config is larger than any model has, values are nested without end, or a part
    of the model would be downloaded.

    largest_size: of what is called a height, a width or an edge.
    """
    todo: list[tuple[str, Any, int]] = [("", content, 0)]
    while todo:
        name, value, level = todo.pop()
        if level > MOST_LEVELS:
            raise TttvError(f"{printable(path)}: has values nested more than {MOST_LEVELS} deep; get it again")
        if isinstance(value, dict):
            _require_whole(value, path)
            todo += [(str(key), part, level + 1) for key, part in value.items()]
        elif isinstance(value, list):
            todo += [(name, part, level + 1) for part in value]
        elif isinstance(value, int | float):
            largest = MOST_LAYERS if LAYERS.search(name) else largest_size if SIDES.search(name) else LARGEST_NUMBER
            if not math.isfinite(value) or abs(value) > largest:
                shown = printable(str(value)[:LONGEST_VALUE])
                raise TttvError(f"{printable(path)}: {printable(name)} is {shown}, and at most {largest} makes sense")
