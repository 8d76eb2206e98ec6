"""What the pictures of the player say: how far the two models agree, and what changes from frame to frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from ttt_cli.core.classes import VOID
from ttt_cli.report.collect import SegmentRun, Values
from ttt_cli.report.gallery import MOST_FRAMES, Pane, pixels_of


@dataclass(frozen=True)
class Seen:
    """Values of each frame, None for those that are not in the player; a field is None if nothing is known."""

    agreement: Values | None = None
    """The share of pixels, 0..1, to which the fixed and the adapted model give the same class."""
    difference: Values | None = None
    """Of pictures instead of classes: the mean difference of the two models' colors, 0..255."""
    change: Values | None = None
    """The share of pixels, 0..1, with another class than in the frame before."""


def logged_of(run: SegmentRun) -> Seen:
    """What the run itself has written down."""
    agreement: Values = [frame.get("agreement") for frame in run.frames]
    return Seen(agreement if any(value is not None for value in agreement) else None)


def seen_in(panes: Sequence[Pane], run: SegmentRun) -> Seen:
    """What is logged and, of what is not, what the pictures say."""
    by_name, agreement = {pane.name: pane for pane in panes}, logged_of(run).agreement
    fixed, adapted = by_name.get("fixed"), by_name.get("adapted")
    frames = len(run.frames)
    if adapted is None or not adapted.has_ids:
        pairs = {} if fixed is None or adapted is None else _pairs(fixed, adapted)
        return Seen(agreement, _values({at: _difference(*pair) for at, pair in pairs.items()}, frames))
    if agreement is None and fixed is not None:
        agreement = _values({at: _same(*pair) for at, pair in _pairs(fixed, adapted).items()}, frames)
    maps = adapted.pictures
    changes = {at: 1 - _same(maps[before], maps[at]) for before, at in pairwise(sorted(maps))}
    return Seen(agreement, None, _values(changes, frames))


def shares_of(pane: Pane) -> np.ndarray:
    """The share of each class id in all pictures of a pane that has ids: float (255)."""
    counts = np.sum([_counts(picture) for picture in pane.pictures.values()], axis=0)
    shares: np.ndarray = counts[:VOID] / counts.sum()
    return shares


def _pairs(fixed: Pane, adapted: Pane) -> dict[int, tuple[bytes, bytes]]:
    both = fixed.pictures.keys() & adapted.pictures.keys()
    return {position: (fixed.pictures[position], adapted.pictures[position]) for position in both}


def _values(known: Mapping[int, float], frames: int) -> Values | None:
    return [known.get(position) for position in range(frames)] if known else None


# A page that is watched is made again and again of much the same pictures.
@lru_cache(2 * MOST_FRAMES)
def _same(one: bytes, other: bytes) -> float:
    return float((pixels_of(one) == pixels_of(other)).mean())


@lru_cache(MOST_FRAMES)
def _difference(one: bytes, other: bytes) -> float:
    return float(np.abs(pixels_of(one).astype(np.int16) - pixels_of(other)).mean())


@lru_cache(3 * MOST_FRAMES)
def _counts(picture: bytes) -> np.ndarray:
    return np.bincount(pixels_of(picture).ravel(), minlength=VOID + 1)
