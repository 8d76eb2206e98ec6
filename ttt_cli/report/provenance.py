"""How a result came about, and how to get it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ttt_cli.core.errors import printable
from ttt_cli.run.settings import RunSettings, settings_record


@dataclass(frozen=True)
class Setting:
    """A setting, for a table."""

    name: str
    """Its name in the section."""
    value: str
    """For people."""
    is_default: bool
    """Whether the program chooses that by itself."""


@dataclass(frozen=True)
class Provenance:
    """How a result came about."""

    command: str | None
    """The command line that makes it again; None if it was not made by one."""
    facts: Sequence[tuple[str, str]]
    """Names and values: data, weights, seeds, machine, date."""
    settings: Sequence[tuple[str, Sequence[Setting]]]
    """By section."""
    raw: str | None
    """A frame of the input as it is, as a data URI."""


def shown_settings(sections: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[Setting]]]:
    """All settings by section."""
    defaults = settings_record(RunSettings())
    return [
        (
            section,
            [Setting(name, _shown(value), _same(value, defaults[section].get(name))) for name, value in table.items()],
        )
        for section, table in sections.items()
    ]


def shown_command(words: Sequence[str] | None) -> str | None:
    """A command line to be typed again; None if there was none."""
    return None if not words else shlex.join(printable(word) for word in words)


def date_of(text: str) -> str:
    """A date and time in UTC, for people."""
    return text.replace("T", " ").replace("+00:00", " UTC")


def _same(value: Any, default: Any) -> bool:
    return bool(value == (list(default) if isinstance(default, tuple) else default))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return {None: "none", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)
