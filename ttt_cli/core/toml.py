"""Reads settings from TOML into frozen dataclasses. Unknown names and wrong types raise errors that name the file."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from ttt_cli.core.errors import UsageError, printable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Settings = TypeVar("Settings")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises UsageError if it is missing or is not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{printable(path)}: cannot be read ({error}); name a TOML file") from error
    return parse_toml(text, str(path))


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """The tables of TOML text; `where` is its origin, for the error message. Raises UsageError if it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{printable(where)}: not valid TOML ({error})") from error


def from_table(kind: type[Settings], table: dict[str, Any], where: str) -> Settings:
    """Builds the dataclass `kind` from a table: nested tables become nested dataclasses, lists become tuples.

    where: the file or section, for the error message. Raises UsageError for unknown names and wrong types.
    """
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in table.items():
        if name not in hints:
            raise UsageError(f"{printable(where)}: unknown setting {printable(name)!r}; known: {', '.join(hints)}")
        values[name] = converted(hints[name], value, f"{where}: {name}")
    missing = [
        field.name
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UsageError(f"{printable(where)}: must say {', '.join(missing)}")
    return kind(**values)


def converted(hint: Any, value: Any, where: str) -> Any:
    """Converts `value` to the type `hint`: an int may become a float, a table a dataclass, a list a tuple.

    where: the setting's name and origin, for the error message. Raises UsageError if the value does not fit.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        present = [argument for argument in arguments if argument is not type(None)]
        return None if value is None else converted(present[0], value, where)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_table(typing.cast(type, hint), value, where)
    if origin is dict and isinstance(value, dict):
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(converted(arguments[0], item, where) for item in value)
    if origin is typing.Literal and value in arguments:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    expected = " or ".join(map(repr, arguments)) if origin is typing.Literal else getattr(hint, "__name__", str(hint))
    raise UsageError(f"{printable(where)}: must be {expected}, not {printable(repr(value))}")
