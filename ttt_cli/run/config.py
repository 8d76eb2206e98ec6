"""Reads the file of `--config`: TOML, or the run.json of a run. Importing this does not import torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.toml import read_toml
from ttt_cli.run.overrides import Tables, in_numbers

RECORD = ".json"
"""How the name of a record ends."""


def read_config(path: Path) -> Tables:
    """The sections of a file, by the names in RunSettings. Raises UsageError if it is missing or is neither of both."""
    tables = _settings_in(path) if path.suffix.lower() == RECORD else read_toml(path)
    return {name: in_numbers(table) if isinstance(table, dict) else table for name, table in tables.items()}


def _settings_in(path: Path) -> dict[str, Any]:
    """The settings of a run. Those that only its method has become a table of that method."""
    shown = printable(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{shown}: cannot be read ({error.strerror}); name a TOML file, or the run.json of a run"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{shown}: not valid JSON ({printable(error)})") from error
    settings = record.get("settings") if isinstance(record, dict) else None
    if not isinstance(settings, dict):
        raise UsageError(f"{shown}: has no settings; name the run.json of a run")
    adaptation = settings.get("adaptation")
    if isinstance(adaptation, dict) and "constants" in adaptation:
        own = adaptation.pop("constants")
        adaptation[str(adaptation.get("method"))] = own
    return settings
