"""Settings that a caller overrides. Importing them does not import torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.toml import parse_toml

Tables = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class InputOverrides:
    """Fields as in InputSettings; None means not given."""

    start: float | None = None
    end: float | None = None
    stride: int | None = None
    max_frames: int | None = None
    fps: float | None = None
    size: int | None = None
    exposure: str | None = None
    reader: str | None = None
    hwaccel: str | None = None
    timeout: float | None = None


@dataclass(frozen=True)
class TaskOverrides:
    """Fields as in TaskSettings; None means not given."""

    task: str | None = None
    crop: str | None = None
    saturation: float | None = None


@dataclass(frozen=True)
class AdaptationOverrides:
    """Fields as in AdaptationSettings; None means not given."""

    method: str | None = None
    window: int | None = None
    auto_window: bool | None = None
    steps: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    depth: int | None = None
    moves: str | None = None
    cuts: str | None = None
    seed: int | None = None
    every: int | None = None
    budget: float | None = None
    precision: str | None = None
    low_memory: bool | None = None


@dataclass(frozen=True)
class ReconstructionOverrides:
    """Fields as in ReconstructionSettings; None means not given."""

    mask_ratio: float | None = None


@dataclass(frozen=True)
class OutputOverrides:
    """Fields as in OutputSettings; None means not given."""

    overlay: bool | None = None
    layout: str | None = None
    palette: str | None = None
    alpha: float | None = None
    lift: bool | None = None
    labels: bool | None = None
    masks: bool | None = None
    formats: list[str] | None = None
    classes: list[str] | None = None


@dataclass(frozen=True)
class Overrides:
    """Settings that win over the `--config` file, by section of RunSettings."""

    input: InputOverrides = field(default_factory=InputOverrides)
    task: TaskOverrides = field(default_factory=TaskOverrides)
    adaptation: AdaptationOverrides = field(default_factory=AdaptationOverrides)
    reconstruction: ReconstructionOverrides = field(default_factory=ReconstructionOverrides)
    output: OutputOverrides = field(default_factory=OutputOverrides)
    assigned: Tables = field(default_factory=dict)
    """Tables as in a `--config` file (`--set`); these win over everything else."""


def parse_assignments(texts: list[str]) -> Tables:
    """Tables from `SECTION.NAME=VALUE` or `adaptation.METHOD.NAME=VALUE`; if a name is repeated, the last value counts.

    Raises UsageError for texts of another form. Does not check whether the names are known.
    """
    values = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set takes SECTION.NAME=VALUE or adaptation.METHOD.NAME=VALUE, not {printable(text)!r}")
        values[path.strip()] = _parsed(value.strip())
    return assigned_tables(values)


def assigned_tables(values: Mapping[str, Any]) -> Tables:
    """Tables from values by `SECTION.NAME` or `adaptation.METHOD.NAME`. Raises UsageError for other names."""
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
    return {section: in_numbers(table) for section, table in tables.items()}


def in_numbers(table: dict[str, Any]) -> dict[str, Any]:
    """A section with numbers for the words that the command line takes: window auto and inf, budget none."""
    numbers: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):  # Of a method.
            numbers[name] = in_numbers(value)
        elif name == "window" and value == "auto":
            numbers["auto_window"] = True
        elif name == "window" and value in ("inf", math.inf):
            numbers[name] = 0
        elif name == "budget" and value == "none":
            numbers[name] = 0.0
        else:
            numbers[name] = value
    return numbers


def _parsed(text: str) -> Any:
    """The text as a TOML value, or unchanged if it is not one, so that words need no quotes."""
    try:
        table = parse_toml(f"value = {text}", "--set")
    except UsageError:
        return text
    return table["value"] if len(table) == 1 else text
