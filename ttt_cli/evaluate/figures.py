"""Numbers that may be missing, and how tables show them."""

from __future__ import annotations

import math

UNKNOWN = "-"
"""In place of a number that there is not."""


def shown(value: float | None, deviation: float | None = None, digits: int | None = None) -> str:
    """A number, with its deviation if one is given; without `digits`, three behind the point below 1, else two."""
    if value is None or math.isnan(value):
        return UNKNOWN
    places = digits if digits is not None else 3 if abs(value) < 1 else 2
    return f"{value:.{places}f}" + ("" if deviation is None else f" ± {deviation:.{places}f}")


def or_nan(value: float | None) -> float:
    """NaN where there is nothing: JSON has null for it."""
    return math.nan if value is None else value
