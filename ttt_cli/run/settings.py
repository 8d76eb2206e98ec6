"""The settings of a run, merged from every place that can give them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ttt_cli.adaptation.methods import check_defined, constants_of, method_named
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.choices import choices
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.toml import from_table, read_toml
from ttt_cli.model.published.foreign import ForeignWeights
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.weights import Weights
from ttt_cli.run.overrides import Overrides, Tables
from ttt_cli.tasks.base import Task
from ttt_cli.tasks.published import PUBLISHED_TASKS
from ttt_cli.tasks.settings import TaskSettings
from ttt_cli.tasks.table import TASKS
from ttt_cli.video.settings import InputSettings, OutputSettings


@dataclass(frozen=True)
class RunSettings:
    """The sections of a `--config` file, and of "settings" in run.json."""

    input: InputSettings = field(default_factory=InputSettings)
    task: TaskSettings = field(default_factory=TaskSettings)
    adaptation: AdaptationSettings = field(default_factory=AdaptationSettings)
    reconstruction: ReconstructionSettings = field(default_factory=ReconstructionSettings)
    output: OutputSettings = field(default_factory=OutputSettings)


SECTIONS = [section.name for section in dataclasses.fields(RunSettings)]


def resolve(
    weights: Weights, config: Path | None, overrides: Overrides, device: torch.device, budget: float = 0.0
) -> RunSettings:
    """Merges all settings. From highest to lowest, these win: assigned settings (`--set`), other overrides, the config
    file, the weights' recommendations, the dataclasses' defaults.

    budget: as in AdaptationSettings, if nothing else says how often to adapt.
    Raises UsageError for unknown names, wrong types and values out of range.
    """
    file = _file_tables(config)
    check_tables(overrides.assigned, "--set")
    check_tables(weights.recommended, str(weights.path))
    given = {section: _given(getattr(overrides, section)) for section in SECTIONS}
    by_device: Tables = {"adaptation": {"precision": "bf16" if device.type == "cuda" else "fp32"}}
    layers = (by_device, weights.recommended, file, given, overrides.assigned)
    merged: Tables = {section: _merged(layer.get(section, {}) for layer in layers) for section in SECTIONS}
    method = merged["adaptation"].get("method", AdaptationSettings.method)
    for_method = _merged(table_for(method, layer.get("adaptation", {})) for layer in layers)
    if not {"every", "budget"} & for_method.keys():
        for_method["budget"] = budget
    merged["adaptation"] = _with_constants(method, for_method, "settings: adaptation")
    settings = from_table(RunSettings, merged, "settings")
    _check(settings, weights)
    return settings


def task_of(weights: Weights, settings: RunSettings) -> Task:
    """The task that the settings name, for these weights."""
    ordinary = weights.ordinary if settings.input.exposure == "match" else None
    if isinstance(weights, ForeignWeights):
        processing = weights.processing(resizes=settings.input.size is None)
        return PUBLISHED_TASKS[settings.task.task](weights.classes, settings.task, ordinary, processing)
    return TASKS[settings.task.task](weights.classes, settings.task, ordinary)


def table_for(method: str, adaptation: dict[str, Any]) -> dict[str, Any]:
    """A section's settings for a method such as `tent+cb`: for all methods, then for `tent`, then for `tent+cb`.

    `constants`, which run.json has, are those of the method that the section names.
    """
    table = {name: value for name, value in adaptation.items() if not isinstance(value, dict)}
    table |= adaptation.get("constants", {})
    parts = method.split("+")
    for count in range(1, len(parts) + 1):
        table |= adaptation.get("+".join(parts[:count]), {})
    return table


def tables_of_methods(config: Path | None, overrides: Overrides) -> Tables:
    """The settings of single methods from the config file and `--set`, without those that other overrides replace."""
    assigned = overrides.assigned.get("adaptation", {})
    overridden = {*_given(overrides.adaptation), *assigned}
    tables: Tables = {}
    for method, table in _method_tables(_file_tables(config).get("adaptation", {})).items():
        tables[method] = {name: value for name, value in table.items() if name not in overridden}
    for method, table in _method_tables(assigned).items():
        tables[method] = {**tables.get(method, {}), **table}
    return {method: tables[method] for method in sorted(tables) if tables[method]}


def check_tables(tables: Tables, where: str) -> None:
    """Checks the tables of a config file or of `--set` on their own, so that errors name the source, `where`.

    Raises UsageError for unknown names, wrong types and values out of range, including those in tables of methods.
    """
    adaptation = tables.get("adaptation")
    if isinstance(adaptation, dict):
        methods = _method_tables(adaptation)
        tables = {**tables, "adaptation": {name: adaptation[name] for name in adaptation if name not in methods}}
        for method, table in methods.items():
            try:
                _check_method_table(method, table)
            except UsageError as error:
                raise UsageError(f"{printable(where)}: {error}") from error
    from_table(RunSettings, tables, where)


def adaptation_record(settings: AdaptationSettings) -> dict[str, Any]:
    """The settings as a dict; `constants` is left out if it is empty."""
    table = dataclasses.asdict(settings)
    if not settings.constants:
        del table["constants"]
    return table


def settings_record(settings: RunSettings) -> dict[str, Any]:
    """All settings as nested dicts."""
    return {**dataclasses.asdict(settings), "adaptation": adaptation_record(settings.adaptation)}


def _file_tables(config: Path | None) -> Tables:
    if config is None:
        return {}
    tables: Tables = read_toml(config)
    check_tables(tables, str(config))
    return tables


def _given(section: Any) -> dict[str, Any]:
    """The fields of a section of Overrides that were given."""
    return {name: value for name, value in dataclasses.asdict(section).items() if value is not None}


def _merged(tables: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """All tables merged into one; if names repeat, the last value counts."""
    return {name: value for table in tables for name, value in table.items()}


def _method_tables(adaptation: dict[str, Any]) -> Tables:
    return {name: value for name, value in adaptation.items() if isinstance(value, dict) and name != "constants"}


def _check_method_table(method: str, table: dict[str, Any]) -> None:
    where = f"adaptation.{method}"
    if "method" in table:
        raise UsageError(f"{printable(where)}: a table of a method cannot name another one")
    from_table(AdaptationSettings, _with_constants(method, table, where), where)


def _with_constants(method: str, table: dict[str, Any], where: str) -> dict[str, Any]:
    """A table for AdaptationSettings, with the method's own settings moved into `constants`."""
    constants = constants_of(method)
    known = [field.name for field in dataclasses.fields(AdaptationSettings) if field.name != "constants"]
    for name in table:
        if name not in (*known, *constants):
            raise UsageError(
                f"{printable(where)}: unknown setting {printable(name)!r}; {choices(name, (*constants, *known))}"
            )
    method_settings = {name: value for name, value in table.items() if name in constants}
    method_named(method, method_settings)  # Checks the types.
    return {**{name: value for name, value in table.items() if name not in constants}, "constants": method_settings}


def choose_device(name: str) -> torch.device:
    """The device of this name; "auto" is CUDA if available, else the CPU. Raises UsageError if it is not available."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(name, False):
        names = ", ".join(device for device, usable in available.items() if usable)
        raise UsageError(f"device {printable(name)}: not on this machine, which has {names}")
    return torch.device(name)


def _check(settings: RunSettings, weights: Weights) -> None:
    if settings.task.task not in TASKS:
        raise UsageError(f"task {printable(settings.task.task)!r} is unknown; {choices(settings.task.task, TASKS)}")
    if settings.task.task not in weights.tasks:
        known = ", ".join(weights.tasks)
        raise UsageError(f"weights {printable(weights.name)} are for {known}, not for the task {settings.task.task}")
    if isinstance(weights, ForeignWeights) and weights.takes_one_size and settings.input.size is not None:
        raise UsageError(f"weights {printable(weights.name)} take pictures of one size only: leave out the size")
    check_defined(settings.adaptation.method, settings.task.task, weights)
    names = [kind.name for kind in weights.classes]
    for name in settings.output.classes:
        if name not in names:
            raise UsageError(f"class {printable(name)!r} is not one of the weights' classes; {choices(name, names)}")
    if settings.output.compares and settings.adaptation.method == "joint":
        raise UsageError("--compare shows the fixed model beside an adapted one: choose another method than joint")
