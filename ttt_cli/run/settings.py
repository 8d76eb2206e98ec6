"""The settings of a run, merged from every place that can give them.

Importing this does not import torch, which takes seconds: most wrong values can be told before (`preview`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_cli.adaptation.catalog import require_method
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.choices import choices
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.toml import from_table
from ttt_cli.model.published.foreign import ForeignWeights
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.weights import Weights
from ttt_cli.run.config import read_config
from ttt_cli.run.overrides import Overrides, Tables
from ttt_cli.tasks.settings import TaskSettings
from ttt_cli.video.settings import InputSettings, OutputSettings

if TYPE_CHECKING:
    import torch

    from ttt_cli.tasks.base import Task


@dataclass(frozen=True)
class RunSettings:
    """The sections of a `--config` file, and of "settings" in run.json."""

    input: InputSettings = field(default_factory=InputSettings)
    task: TaskSettings = field(default_factory=TaskSettings)
    adaptation: AdaptationSettings = field(default_factory=AdaptationSettings)
    reconstruction: ReconstructionSettings = field(default_factory=ReconstructionSettings)
    output: OutputSettings = field(default_factory=OutputSettings)

    @property
    def kind(self) -> str:
        """The end of the names of run folders: the method, and the task unless it is semantic."""
        method, task = self.adaptation.method, self.task.task
        return method if task == "semantic" else f"{method}-{task}"


SECTIONS = [section.name for section in dataclasses.fields(RunSettings)]


ForMethod = Callable[[str, dict[str, Any], str], dict[str, Any]]
"""Makes a table for AdaptationSettings of a method, a table that may have settings of its own, and its origin."""


def resolve(
    weights: Weights, config: Path | None, overrides: Overrides, device: torch.device, budget: float = 0.0
) -> RunSettings:
    """Merges all settings. From highest to lowest, these win: assigned settings (`--set`), other overrides, the config
    file, the weights' recommendations, the dataclasses' defaults.

    budget: as in AdaptationSettings, if nothing else says how often to adapt.
    Raises UsageError for unknown names, wrong types and values out of range, and for a method that makes no sense for
    the task or the weights.
    """
    from ttt_cli.adaptation.methods import check_defined

    settings = _merged_settings(weights, config, overrides, device.type, budget, _with_constants)
    check_defined(settings.adaptation.method, settings.task.task, weights)
    return settings


def preview(weights: Weights, config: Path | None, overrides: Overrides, budget: float = 0.0) -> RunSettings:
    """The same on a CPU, as far as it can be told without torch: without the settings that only one method has.

    Raises UsageError as `resolve` does, but not for those.
    """
    return _merged_settings(weights, config, overrides, "cpu", budget, _without_own)


def _merged_settings(
    weights: Weights, config: Path | None, overrides: Overrides, device: str, budget: float, for_method: ForMethod
) -> RunSettings:
    file = _file_tables(config, for_method)
    check_tables(overrides.assigned, "--set", for_method)
    check_tables(weights.recommended, str(weights.path), for_method)
    given = {section: _given(getattr(overrides, section)) for section in SECTIONS}
    by_device: Tables = {"adaptation": {"precision": "bf16" if device == "cuda" else "fp32"}}
    layers = (by_device, weights.recommended, file, given, overrides.assigned)
    merged: Tables = {section: _merged(layer.get(section, {}) for layer in layers) for section in SECTIONS}
    method = merged["adaptation"].get("method", AdaptationSettings.method)
    adaptation: dict[str, Any] = {}
    for layer in layers:
        table = table_for(method, layer.get("adaptation", {}))
        for how_often, otherwise in (("every", "budget"), ("budget", "every")):
            if how_often in table and otherwise not in table:
                adaptation.pop(otherwise, None)
        adaptation |= table
    if not {"every", "budget"} & adaptation.keys():
        adaptation["budget"] = budget
    merged["adaptation"] = for_method(method, adaptation, "settings: adaptation")
    settings = from_table(RunSettings, merged, "settings")
    _check(settings, weights)
    return settings


def task_of(weights: Weights, settings: RunSettings) -> Task:
    """The task that the settings name, for these weights."""
    from ttt_cli.tasks.published import PUBLISHED_TASKS
    from ttt_cli.tasks.table import TASKS

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
    for method, table in _method_tables(_file_tables(config, _with_constants).get("adaptation", {})).items():
        tables[method] = {name: value for name, value in table.items() if name not in overridden}
    for method, table in _method_tables(assigned).items():
        tables[method] = {**tables.get(method, {}), **table}
    return {method: tables[method] for method in sorted(tables) if tables[method]}


def check_tables(tables: Tables, where: str, for_method: ForMethod) -> None:
    """Checks the tables of a config file or of `--set` on their own, so that errors name the source, `where`.

    Raises UsageError for unknown names, wrong types and values out of range, including those in tables of methods.
    """
    adaptation = tables.get("adaptation")
    if isinstance(adaptation, dict):
        methods = _method_tables(adaptation)
        tables = {**tables, "adaptation": {name: adaptation[name] for name in adaptation if name not in methods}}
        for method, table in methods.items():
            try:
                _check_method_table(method, table, for_method)
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


def _file_tables(config: Path | None, for_method: ForMethod) -> Tables:
    if config is None:
        return {}
    tables = read_config(config)
    check_tables(tables, str(config), for_method)
    return tables


def _given(section: Any) -> dict[str, Any]:
    """The fields of a section of Overrides that were given."""
    return {name: value for name, value in dataclasses.asdict(section).items() if value is not None}


def _merged(tables: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """All tables merged into one; if names repeat, the last value counts."""
    return {name: value for table in tables for name, value in table.items()}


def _method_tables(adaptation: dict[str, Any]) -> Tables:
    return {name: value for name, value in adaptation.items() if isinstance(value, dict) and name != "constants"}


def _check_method_table(method: str, table: dict[str, Any], for_method: ForMethod) -> None:
    where = f"adaptation.{method}"
    if "method" in table:
        raise UsageError(f"{printable(where)}: a table of a method cannot name another one")
    from_table(AdaptationSettings, for_method(method, table, where), where)


def _with_constants(method: str, table: dict[str, Any], where: str) -> dict[str, Any]:
    """A table for AdaptationSettings, with the method's own settings moved into `constants`."""
    from ttt_cli.adaptation.methods import constants_of, method_named

    constants = constants_of(method)
    known = _for_all_methods()
    for name in table:
        if name not in (*known, *constants):
            raise UsageError(
                f"{printable(where)}: unknown setting {printable(name)!r}; {choices(name, (*constants, *known))}"
            )
    method_settings = {name: value for name, value in table.items() if name in constants}
    method_named(method, method_settings)  # Checks the types.
    return {**{name: value for name, value in table.items() if name not in constants}, "constants": method_settings}


def _without_own(method: str, table: dict[str, Any], where: str) -> dict[str, Any]:
    """A table for AdaptationSettings, without the method's own settings, which only its class knows."""
    require_method(method)
    return {name: value for name, value in table.items() if name in _for_all_methods()}


def _for_all_methods() -> list[str]:
    return [field.name for field in dataclasses.fields(AdaptationSettings) if field.name != "constants"]


def choose_device(name: str) -> torch.device:
    """The device of this name; "auto" is CUDA if available, else the CPU. Raises UsageError if it is not available."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(name, False):
        names = ", ".join(device for device, usable in available.items() if usable)
        raise UsageError(f"device {printable(name)}: not on this machine, which has {names}")
    return torch.device(name)


def _check(settings: RunSettings, weights: Weights) -> None:
    if settings.task.task not in weights.tasks:
        known = ", ".join(weights.tasks)
        raise UsageError(f"weights {printable(weights.name)} are for {known}, not for the task {settings.task.task}")
    if isinstance(weights, ForeignWeights) and weights.takes_one_size and settings.input.size is not None:
        raise UsageError(f"weights {printable(weights.name)} take pictures of one size only: leave out the size")
    names = [kind.name for kind in weights.classes]
    for name in settings.output.classes:
        if name not in names:
            raise UsageError(f"class {printable(name)!r} is not one of the weights' classes; {choices(name, names)}")
    if settings.output.compares and settings.adaptation.method == "joint":
        raise UsageError("--compare shows the fixed model beside an adapted one: choose another method than joint")
