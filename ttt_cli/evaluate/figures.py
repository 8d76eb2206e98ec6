"""The format of numbers in tables; numbers may be missing."""

from __future__ import annotations

import math

UNKNOWN = "-"
"""Shown instead of a missing number."""


def format_number(value: float | None, deviation: float | None = None, digits: int | None = None) -> str:
    """A number with its deviation, if given. Without `digits`: three decimals below 1, else two."""
    if value is None or math.isnan(value):
        return UNKNOWN
    decimals = digits if digits is not None else 3 if abs(value) < 1 else 2
    return f"{value:.{decimals}f}" + ("" if deviation is None else f" ± {deviation:.{decimals}f}")


def or_nan(value: float | None) -> float:
    """The value, or NaN if it is None: JSON has null for NaN."""
    return math.nan if value is None else value
