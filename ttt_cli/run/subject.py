"""What a run depends on: a run that was cut off goes on only with the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.frame import Video
from ttt_cli.core.version import __version__
from ttt_cli.datasets.fingerprint import quick_fingerprint
from ttt_cli.run.folder import RunFolder, to_json
from ttt_cli.run.settings import settings_record

if TYPE_CHECKING:
    from ttt_cli.run.request import RunRequest

SHOWN = 3
"""Differences that a message names."""


def subject_of(request: RunRequest, video: Video) -> dict[str, Any]:
    """Everything that the files of a run depend on, as JSON has it. Raises TttvError if the input cannot be read."""
    subject = {
        "tttv": __version__,
        "torch": torch.__version__,
        "device": request.device.type,
        "input": quick_fingerprint(video.path),
        "labels": None if request.truth is None else quick_fingerprint(request.truth),
        "map": dict(request.renames),
        "gray_first": request.gray_first,
        "weights": request.weights.checksum(),
        "settings": settings_record(request.settings),
    }
    plain: dict[str, Any] = json.loads(to_json(subject))
    return plain


def subject_of_finished(record: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The same of a finished run, from its run.json, as far as another run, `now`, could make other files.

    Versions, the device and the precision, which may have been chosen by a trial, count as those of now.
    """
    subject = {**now, **record.get("depends_on", {}), "settings": record.get("settings", {})}
    subject |= {name: now[name] for name in ("tttv", "torch", "device")}
    subject["settings"].get("adaptation", {})["precision"] = now["settings"]["adaptation"]["precision"]
    return subject


def check_same(earlier: dict[str, Any], now: dict[str, Any], folder: RunFolder) -> None:
    """Raises TttvError, which says what differs, if a run of the subject `earlier` cannot go on with `now`."""
    before, after = _flat(earlier), _flat(now)
    changed = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    if not changed:
        return
    listed = "; ".join(_difference(name, before.get(name), after.get(name)) for name in changed[:SHOWN])
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    raise TttvError(
        f"{printable(folder.path)}: holds a run of something else: {listed}{more}; change it back, add --overwrite to "
        "begin anew, or name another --out"
    )


def _difference(name: str, before: Any, now: Any) -> str:
    if name in ("input", "labels", "weights"):
        return f"the {name} changed"
    return f"{name.removeprefix('settings.')} was {printable(before)}, is {printable(now)}"


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested dicts, by their names with dots."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
