"""Reads settings from TOML into frozen dataclasses. Unknown names and wrong types raise errors that name the file."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from ttt_cli.core.choices import choices
from ttt_cli.core.errors import UsageError, printable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Settings = TypeVar("Settings")


LARGEST_BYTES = 1 << 20
"""Of a TOML file."""
SHOWN = 80
"""How many characters of a wrong value an error shows."""
LARGEST_INTEGER = 2**63 - 1
"""What torch and numpy can count to."""


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises UsageError if it is missing or is not TOML."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise UsageError(f"{printable(path)}: has more than {LARGEST_BYTES} bytes; name a TOML file")
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{printable(path)}: cannot be read ({cause}); name a TOML file") from error
    return parse_toml(text, str(path))


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """The tables of TOML text; `where` is its origin, for the error message. Raises UsageError if it is not TOML."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # The second of lists in lists in lists ...
        raise UsageError(f"{printable(where)}: not valid TOML ({printable(error)})") from error


def from_table(kind: type[Settings], table: dict[str, Any], where: str) -> Settings:
    """Builds the dataclass `kind` from a table: nested tables become nested dataclasses, lists become tuples.

    where: the file or section, for the error message. Raises UsageError for unknown names and wrong types.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{printable(where)}: must be a table, not {_shown(table)}")
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in table.items():
        if name not in hints:
            raise UsageError(f"{printable(where)}: unknown setting {printable(name)!r}; {choices(name, hints)}")
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

    Numbers must be finite.

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
    if origin is tuple and isinstance(value, list) and (Ellipsis in arguments or len(value) == len(arguments)):
        return tuple(converted(arguments[0], item, where) for item in value)
    if origin is typing.Literal and any(value == argument and type(value) is type(argument) for argument in arguments):
        return value
    if hint in (int, float) and isinstance(value, (int, float)) and not abs(value) <= LARGEST_INTEGER:
        raise UsageError(f"{printable(where)}: must be a finite number of at most 19 digits, not {_shown(value)}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    if origin is tuple:
        expected = "a list" if Ellipsis in arguments else f"a list of {len(arguments)}"
        raise UsageError(f"{printable(where)}: must be {expected}, not {_shown(value)}")
    expected = " or ".join(map(repr, arguments)) if origin is typing.Literal else getattr(hint, "__name__", str(hint))
    raise UsageError(f"{printable(where)}: must be {expected}, not {_shown(value)}")


def _shown(value: object) -> str:
    try:
        text = printable(repr(value))
    except (ValueError, RecursionError):  # An int of thousands of digits, lists in lists in lists ...
        return "this"
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."
