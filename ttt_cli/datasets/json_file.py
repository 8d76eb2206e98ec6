"""JSON files from other programs, read whole and checked field by field.

If a file is malformed, every function here raises TttvError with one line that names the file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

from ttt_cli.core.classes import VOID, Class
from ttt_cli.core.errors import TttvError, printable

# JSON takes several times its size in memory. COCO's largest file has about half a gigabyte.
LARGEST_BYTES = 2 * 1024**3

Record = dict[str, Any]
T = TypeVar("T", int, str, list[Any], dict[str, Any])
KINDS: dict[type, str] = {int: "a whole number", str: "a text", list: "a list", dict: "an object"}


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    file = printable(path)
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise TttvError(f"{file}: has {size} bytes, more than {LARGEST_BYTES}; split it into several files")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise TttvError(f"{file}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise TttvError(f"{file}: is cut off or no JSON ({printable(error)}); get a complete copy") from error


def checked(content: Any, kind: type[T], what: str, path: Path) -> T:
    """`content` if it is of `kind`; `what` says which part of the file it is."""
    if not isinstance(content, kind) or isinstance(content, bool):
        raise TttvError(f"{printable(path)}: {what} must be {KINDS[kind]}, not {printable(repr(content)[:40])}")
    return content


def field(record: Record, key: str, kind: type[T], path: Path) -> T:
    """The value of `key`, which must be present and of `kind`."""
    if key not in record:
        raise TttvError(f"{printable(path)}: {key!r} is missing in {printable(repr(record)[:60])}")
    return checked(record[key], kind, repr(key), path)


def records(content: Any, what: str, path: Path) -> list[Record]:
    """`content`, a list of JSON objects."""
    listed = checked(content, list, f"the {what}", path)
    return [checked(record, dict, f"each of the {what}", path) for record in listed]


def flag(record: Record, key: str, default: bool | None, path: Path) -> bool:
    """The value of `key`, which COCO writes as 0 or 1. It must be present if `default` is None."""
    value = record.get(key, default)
    if value not in (0, 1):
        raise TttvError(f"{printable(path)}: {key!r} must be true or false, not {printable(repr(value)[:40])}")
    return bool(value)


def color(value: Any, path: Path) -> tuple[int, int, int]:
    """A color as RGB, 0..255."""
    if isinstance(value, list) and list(map(type, value)) == [int] * 3 and 0 <= min(value) <= max(value) < 256:
        return value[0], value[1], value[2]
    shown = printable(repr(value)[:40])
    raise TttvError(f"{printable(path)}: a color must be three numbers from 0 to 255, not {shown}")


def check_classes(classes: Sequence[Class], path: Path) -> None:
    """Names must differ, because scores go by name. Ids must be below 255, because label images are 8 bits."""
    names = [class_.name for class_ in classes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TttvError(f"{printable(path)}: has more than one class {printable(twice[0])!r}; rename all but one")
    if not 0 < len(names) <= VOID:
        raise TttvError(f"{printable(path)}: has {len(names)} classes; must have 1 to {VOID}")


def inside(folder: Path, name: str, path: Path) -> Path:
    """The path of the file `name`, given in the file `path`, in `folder` or below it. Backslashes separate folders too.

    Raises TttvError if the name leads out of `folder`.
    """
    relative = PureWindowsPath(name)
    if relative.drive or relative.root or ".." in relative.parts or "\0" in name or not relative.parts:
        raise TttvError(f"{printable(path)}: the file name {printable(repr(name))} leads out of its folder; correct it")
    return folder.joinpath(*relative.parts)
