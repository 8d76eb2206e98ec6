"""Checks that several records of settings make of their fields. Each raises UsageError with the field's name."""

from __future__ import annotations

import math

from ttt_cli.core.errors import UsageError


def require_count(settings: object, *names: str) -> None:
    """The fields must be at least 1."""
    for name in names:
        if getattr(settings, name) < 1:
            raise UsageError(f"{name} must be at least 1, not {getattr(settings, name)}")


def require_within(settings: object, least: float, most: float, *names: str) -> None:
    """The fields must lie between two numbers, themselves included."""
    for name in names:
        if not least <= getattr(settings, name) <= most:
            raise UsageError(f"{name} must be within {least:g} and {most:g}, not {getattr(settings, name)}")


def require_share(settings: object, *names: str) -> None:
    """The fields must be within 0 and 1."""
    require_within(settings, 0, 1, *names)


def require_not_negative(settings: object, *names: str) -> None:
    """The fields must be finite, and 0 or above."""
    for name in names:
        if not 0 <= getattr(settings, name) < math.inf:
            raise UsageError(f"{name} must not be negative: {getattr(settings, name)}")
