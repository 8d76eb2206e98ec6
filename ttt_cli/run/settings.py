"""All settings of one run, put together from where they can be given."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ttt_cli.adaptation.methods import check_defined
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.toml import from_table, read_toml
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.weights import Weights
from ttt_cli.tasks.settings import TaskSettings
from ttt_cli.tasks.table import TASKS
from ttt_cli.video.settings import InputSettings, OutputSettings

Tables = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class RunSettings:
    """The five sections of a `--config` file, which are also those of the "settings" in run.json."""

    input: InputSettings = field(default_factory=InputSettings)
    task: TaskSettings = field(default_factory=TaskSettings)
    adaptation: AdaptationSettings = field(default_factory=AdaptationSettings)
    reconstruction: ReconstructionSettings = field(default_factory=ReconstructionSettings)
    output: OutputSettings = field(default_factory=OutputSettings)


def resolve(weights: Weights, config: Path | None, chosen: Tables, device: torch.device) -> RunSettings:
    """Command line, over the config file, over what the weights recommend, over the dataclasses' defaults.

    chosen: what the command line says, by section; None stands for an option that was not given.
    Raises UsageError for unknown names, wrong types and values out of range.
    """
    file: Tables = read_toml(config) if config else {}
    if config:
        from_table(RunSettings, file, str(config))  # Checked on its own, so that errors name the file.
    named = {**file.get("adaptation", {}), **_given(chosen.get("adaptation", {}))}
    method = named.get("method", AdaptationSettings.method)
    precision = "bf16" if device.type == "cuda" else "fp32"
    own: Tables = {
        "task": {"task": weights.tasks[0]},
        "adaptation": {"precision": precision, **recommended(weights, method)},
        "reconstruction": dataclasses.asdict(weights.reconstruction),
    }
    merged: Tables = {}
    for section in (one.name for one in dataclasses.fields(RunSettings)):
        merged[section] = {**own.get(section, {}), **file.get(section, {}), **_given(chosen.get(section, {}))}
    settings = from_table(RunSettings, merged, "settings")
    _check(settings, weights)
    return settings


def _given(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if value is not None}


def recommended(weights: Weights, method: str) -> dict[str, Any]:
    """What the weights recommend for a method: what they say for all, then for `tent`, then for `tent+cb`."""
    table = {name: value for name, value in weights.adaptation.items() if not isinstance(value, dict)}
    parts = method.split("+")
    for count in range(1, len(parts) + 1):
        table |= weights.adaptation.get("+".join(parts[:count]), {})
    return table


def choose_device(name: str) -> torch.device:
    """By name; "auto" is CUDA where there is one, else the CPU. Raises UsageError for an absent one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(name, False):
        there = ", ".join(device for device, found in present.items() if found)
        raise UsageError(f"device {printable(name)}: not on this machine, which has {there}")
    return torch.device(name)


def _check(settings: RunSettings, weights: Weights) -> None:
    if settings.task.task not in TASKS:
        raise UsageError(f"task {printable(settings.task.task)!r} is unknown; known: {', '.join(TASKS)}")
    if settings.task.task not in weights.tasks:
        known = ", ".join(weights.tasks)
        raise UsageError(f"weights {printable(weights.name)} are for {known}, not for the task {settings.task.task}")
    check_defined(settings.adaptation.method, settings.task.task)
    names = [one.name for one in weights.classes]
    for name in settings.output.classes:
        if name not in names:
            raise UsageError(f"class {printable(name)!r} is not one of the weights' classes: {', '.join(names)}")
    if settings.output.compare and not settings.output.overlay:
        raise UsageError("compare needs the overlay video: leave out one of --compare and --no-overlay")
    if settings.output.compare and settings.adaptation.method == "joint":
        raise UsageError("compare shows the fixed model beside an adapted one: choose another method than joint")
