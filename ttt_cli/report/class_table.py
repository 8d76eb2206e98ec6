"""The table of a run's classes: how much of the video each covers, and how well it is found."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RARE = 0.05
"""Classes that cover a smaller part of the video, in percent, and have no score are left out."""
MODELS = ("fixed", "adapted")
Pair = tuple[float | None, float | None]
"""Of the fixed and of the adapted model; None if there is none."""


@dataclass(frozen=True)
class Number:
    """A cell of the table."""

    column: str
    """"fixed", "adapted" or "change"."""
    text: str
    """What the cell shows."""
    kind: str = ""
    """"up" or "down" for gains and losses that show."""


@dataclass(frozen=True)
class ClassRow:
    """A line of the table."""

    name: str
    """Of the class."""
    color: str
    """As #rrggbb."""
    numbers: Sequence[Number]
    """One for each column after the class."""


@dataclass(frozen=True)
class ClassTable:
    """Shares are of the pixels in the player; all numbers are percent."""

    groups: Sequence[tuple[str, Sequence[str]]]
    """What the columns after the class are of, and those of each group: "fixed", "adapted", "change", if known."""
    rows: Sequence[ClassRow]
    """The most frequent class first."""


def class_table(
    classes: Sequence[Mapping[str, str]],
    shares: Mapping[str, np.ndarray],
    scores: Mapping[str, Mapping[str, float | None]],
) -> ClassTable:
    """Of classes with name and color: shares, 0..1 by id, and scores, in percent by name, of "fixed" and "adapted"."""
    shown = []
    for number, kind in enumerate(classes):
        share = _pair({name: 100 * float(values[number]) for name, values in shares.items()})
        score = _pair({name: values.get(kind["name"]) for name, values in scores.items()})
        if any(value is not None and value > RARE for value in share) or any(value is not None for value in score):
            shown.append((kind, share, score))
    shown.sort(key=lambda entry: -(entry[1][1] or 0))
    groups = [
        (title, [*(name for name in MODELS if name in names), *(["change"] if len(names) > 1 else [])])
        for title, names in (("share", shares), ("IoU", scores))
        if names
    ]
    rows = [
        ClassRow(
            kind["name"], kind["color"], [*_numbers(share, shares.keys(), False), *_numbers(score, scores.keys(), True)]
        )
        for kind, share, score in shown
    ]
    return ClassTable(groups, rows)


def _pair(values: Mapping[str, float | None]) -> Pair:
    return values.get("fixed"), values.get("adapted")


def _numbers(pair: Pair, names: Collection[str], is_score: bool) -> list[Number]:
    """The cells of a pair, with their difference if both models are there."""
    known = [Number(name, _text(value)) for name, value in zip(MODELS, pair, strict=True) if name in names]
    if len(known) < 2:
        return known
    fixed, adapted = pair
    if fixed is None or adapted is None:
        return [*known, Number("change", "–")]
    change = round(adapted - fixed, 1)
    text = "0.0" if change == 0 else f"{change:+.1f}".replace("-", "−")
    return [*known, Number("change", text, ("up" if change > 0 else "down") if change and is_score else "")]


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
