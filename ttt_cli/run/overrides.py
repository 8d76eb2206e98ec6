"""What a caller asks for beyond the defaults of the settings. Torch is not needed to write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.toml import parse_toml

Tables = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class InputOverrides:
    """Fields as in InputSettings; None is not given."""

    start: float | None = None
    end: float | None = None
    stride: int | None = None
    max_frames: int | None = None
    fps: float | None = None
    size: int | None = None


@dataclass(frozen=True)
class TaskOverrides:
    """Fields as in TaskSettings; None is not given."""

    task: str | None = None
    crop: str | None = None


@dataclass(frozen=True)
class AdaptationOverrides:
    """Fields as in AdaptationSettings; None is not given."""

    method: str | None = None
    window: int | None = None
    auto_window: bool | None = None
    steps: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    cuts: str | None = None
    seed: int | None = None
    precision: str | None = None


@dataclass(frozen=True)
class ReconstructionOverrides:
    """Fields as in ReconstructionSettings; None is not given."""

    mask_ratio: float | None = None


@dataclass(frozen=True)
class OutputOverrides:
    """Fields as in OutputSettings; None is not given."""

    overlay: bool | None = None
    compare: bool | None = None
    alpha: float | None = None
    labels: bool | None = None
    masks: bool | None = None
    formats: list[str] | None = None
    saturation: float | None = None
    classes: list[str] | None = None


@dataclass(frozen=True)
class Overrides:
    """Settings that win over the `--config` file.

    input, task, adaptation, reconstruction, output: those of the sections of RunSettings.
    assigned: tables as in a `--config` file; what they say wins over everything else (`--set`).
    """

    input: InputOverrides = field(default_factory=InputOverrides)
    task: TaskOverrides = field(default_factory=TaskOverrides)
    adaptation: AdaptationOverrides = field(default_factory=AdaptationOverrides)
    reconstruction: ReconstructionOverrides = field(default_factory=ReconstructionOverrides)
    output: OutputOverrides = field(default_factory=OutputOverrides)
    assigned: Tables = field(default_factory=dict)


def parse_assignments(texts: list[str]) -> Tables:
    """Tables out of `SECTION.NAME=VALUE` or `adaptation.METHOD.NAME=VALUE`; of equal names the last one counts.

    Raises UsageError for other texts; whether the names are known is not checked here.
    """
    values = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set takes SECTION.NAME=VALUE or adaptation.METHOD.NAME=VALUE, not {printable(text)!r}")
        values[path.strip()] = _parsed(value.strip())
    return assigned_tables(values)


def assigned_tables(values: Mapping[str, Any]) -> Tables:
    """Tables out of values by `SECTION.NAME` or `adaptation.METHOD.NAME`. Raises UsageError for other names."""
    tables: Tables = {}
    for path, value in values.items():
        parts = path.split(".")
        if not (all(parts) and len(parts) in ((2, 3) if parts[0] == "adaptation" else (2,))):
            raise UsageError(f"--set takes SECTION.NAME=VALUE or adaptation.METHOD.NAME=VALUE, not {printable(path)!r}")
        section, *methods, name = parts
        table = tables.setdefault(section, {})
        for method in methods:
            if not isinstance(table.setdefault(method, {}), dict):
                raise UsageError(f"--set: {printable(method)!r} is a setting of adaptation, not a method")
            table = table[method]
        table[name] = value
    return tables


def _parsed(text: str) -> Any:
    """A TOML value, or the text as it is if it is none, so that words need no quotes."""
    try:
        table = parse_toml(f"value = {text}", "--set")
    except UsageError:
        return text
    return table["value"] if len(table) == 1 else text
