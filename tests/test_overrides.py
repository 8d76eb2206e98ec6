"""How the command line and a config file become the settings of a run."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main
from conftest import noise_frames, save_frames
from PIL import Image

from ttt_cli.adaptation.methods import METHODS, constants_of, method_named
from ttt_cli.cli import _options as options
from ttt_cli.cli import app, main
from ttt_cli.cli._signature import with_options
from ttt_cli.core.errors import UsageError
from ttt_cli.model.opening import open_weights
from ttt_cli.model.weights import Weights
from ttt_cli.run.overrides import AdaptationOverrides, InputOverrides, Overrides, TaskOverrides, parse_assignments
from ttt_cli.run.settings import SECTIONS, RunSettings, preview, resolve

Capture = pytest.CaptureFixture[str]
CPU = torch.device("cpu")
METHODS_PAGE = (Path(__file__).parents[1] / "docs" / "methods.md").read_text(encoding="utf-8")


@pytest.fixture
def weights(tiny_weights: Path) -> Weights:
    return open_weights(str(tiny_weights))


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    return save_frames([frame.image for frame in noise_frames(2)], tmp_path / "frames")


def config_of(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


# Options in dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    seed: options.Seed = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    steps: options.Steps = None
    inner: Inner
    quiet: options.Quiet = False


def test_fields_become_parameters_in_order_and_come_back_in_the_dataclass() -> None:
    came: list[Any] = []

    def command(source: options.Source, *, outer: Outer, quick: options.Json = False) -> None:
        """Does it."""
        came.extend([source, outer, quick])

    command.__annotations__ = {"source": options.Source, "outer": Outer, "quick": options.Json}
    flat = with_options(command)
    assert list(inspect.signature(flat).parameters) == ["source", "steps", "seed", "quiet", "quick", "help_all"]
    assert flat.__doc__ == "Does it."
    program = typer.Typer(pretty_exceptions_enable=False)
    program.command()(flat)
    program(["clip.mp4", "--seed", "3", "--quiet"], standalone_mode=False)
    assert came == ["clip.mp4", Outer(steps=None, inner=Inner(seed=3), quiet=True), False]


@pytest.mark.parametrize("name", ["segment", "colorize", "eval"])
def test_every_option_is_in_the_help_once(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    names = [option for parameter in command.params for option in parameter.opts]
    assert len(names) == len(set(names))
    assert {"--steps", "--mask-ratio", "--set", "--config", "--json", "--size", "--precision"} <= set(names)


# Overrides


@pytest.mark.parametrize("section", SECTIONS)
def test_overrides_have_the_names_of_the_settings(section: str) -> None:
    kinds = {field.name: field.default_factory for field in dataclasses.fields(Overrides)}
    settings = {field.name for field in dataclasses.fields(getattr(RunSettings(), section))}
    assert {field.name for field in dataclasses.fields(kinds[section])} <= settings  # type: ignore[arg-type]


def test_assigned_over_command_line_over_file_over_weights(weights: Weights, tmp_path: Path) -> None:
    recommended = {"steps": 5, "batch": 5, "window": 5, "crop": 0.5, "tent": {"crop": 0.6, "seed": 6}}
    weights = dataclasses.replace(weights, adaptation=recommended)
    config = config_of(
        tmp_path, "[adaptation]\nmethod='tent+cb'\nbatch=4\nwindow=4\nsteps=4\n[adaptation.tent]\nsteps=3"
    )
    overrides = Overrides(
        input=InputOverrides(size=100, stride=2),
        adaptation=AdaptationOverrides(window=2, steps=2),
        assigned=parse_assignments(["adaptation.steps=1", "input.stride=1", "adaptation.tent+cb.precision=bf16"]),
    )
    settings = resolve(weights, config, overrides, CPU)
    adaptation = settings.adaptation
    assert (settings.input.size, settings.input.stride) == (100, 1)
    assert (adaptation.steps, adaptation.window, adaptation.batch, adaptation.crop, adaptation.seed) == (
        1,
        2,
        4,
        0.6,
        6,
    )
    assert (adaptation.method, adaptation.precision, adaptation.constants) == ("tent+cb", "bf16", {})
    file_alone = resolve(weights, config, Overrides(task=TaskOverrides(task="semantic")), CPU)
    assert file_alone.adaptation.steps == 3


def test_assigned_values_are_toml_and_words_need_no_quotes() -> None:
    texts = ["task.task=panoptic", 'output.classes=["car"]', "task.crop=64x48+1+2", "adaptation.steps=2", "a.b=c=d"]
    assert parse_assignments([*texts, "adaptation.steps = 3", "task.title_cards=false"]) == {
        "task": {"task": "panoptic", "crop": "64x48+1+2", "title_cards": False},
        "output": {"classes": ["car"]},
        "adaptation": {"steps": 3},
        "a": {"b": "c=d"},
    }


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("steps=2", "--set takes SECTION.NAME=VALUE"),
        ("adaptation.steps", "--set takes SECTION.NAME=VALUE"),
        ("input.x.size=2", "--set takes SECTION.NAME=VALUE"),
        ("magic.steps=2", "--set: unknown setting 'magic'; known: input, task, adaptation"),
        ("adaptation.step=2", "--set: adaptation: unknown setting 'step'; did you mean steps? known: method, window"),
        ("adaptation.steps=many", "--set: adaptation: steps: must be int, not 'many'"),
        ("adaptation.steps=0", "steps must be at least 1"),
        ("adaptation.window.steps=1", "--set: method 'window' is unknown; known: main-only"),
        ("adaptation.tent.momentum=1", "--set: adaptation.tent: unknown setting 'momentum'; known: method, window"),
        (
            "adaptation.ln-adapt.moment=1",
            "--set: adaptation.ln-adapt: unknown setting 'moment'; did you mean momentum? known: momentum, method",
        ),
        ("adaptation.ln-adapt.momentum=x", "momentum: must be float, not 'x'"),
        ("adaptation.tent.method=online", "cannot name another one"),
        ("adaptation.ln-adapt.momentum=0.0", "momentum must be above 0"),
        ("adaptation.online+ln-adapt.probe_every=-1", "probe_every must not be negative"),
        ("adaptation.online+ln-adapt.momentum=1.5", "momentum must be above 0 and at most 1"),
        ("adaptation.online+self-train.confidence=2", "confidence must be within 0 and 1"),
        ("adaptation.online+self-train.weight=-1", "weight must not be negative"),
        ("adaptation.self-train+cb.confidence=-1", "confidence must be within 0 and 1"),
        ("adaptation.tent+cb.largest_change=-1", "largest_change must not be negative"),
        ("adaptation.no-memory.steps=0", "steps must be at least 1"),
        ("adaptation.offline-oracle.epochs=0", "epochs must be at least 1"),
    ],
)
def test_an_invalid_assignment_is_one_line_and_exit_code_2(
    tiny_weights: Path, frames: Path, text: str, cause: str, capsys: Capture
) -> None:
    assert main(["segment", str(frames), "--weights", str(tiny_weights), "--set", text]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert cause in error


def test_set_wins_over_options_and_reaches_the_record(
    tiny_weights: Path, frames: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    arguments = ["segment", str(frames), "--weights", str(tiny_weights), "--out", str(out), "--method", "ln-adapt"]
    given = ["--steps", "3", "--set", "adaptation.steps=2", "--set", "adaptation.ln-adapt.momentum=1"]
    assert main([*arguments, *given, "--quiet"]) == 0
    recorded = json.loads((out / "run.json").read_text())["settings"]["adaptation"]
    assert (recorded["steps"], recorded["constants"]) == (2, {"momentum": 1})
    assert main([*arguments, "--overwrite", "--quiet"]) == 0
    assert "constants" not in json.loads((out / "run.json").read_text())["settings"]["adaptation"]


# Constants of methods


def test_constants_reach_the_method_and_others_stay(weights: Weights, tmp_path: Path) -> None:
    config = config_of(
        tmp_path, '[adaptation.ln-adapt]\nmomentum = 0.1\n[adaptation."online+self-train"]\nweight = 2\n'
    )
    for name, constants in {"ln-adapt": {"momentum": 0.1}, "online+self-train": {"weight": 2}, "online": {}}.items():
        overrides = Overrides(adaptation=AdaptationOverrides(method=name))
        settings = resolve(weights, config, overrides, CPU).adaptation
        assert settings.constants == constants
        method = method_named(settings.method, settings.constants)
        assert {constant: getattr(method, constant) for constant in constants} == constants
    assert constants_of("ln-adapt") == {"momentum": 0.3}
    assert isinstance(method_named("online+self-train", {"weight": 2}).weight, float)  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["[adaptation.tnt]\nsteps = 1\n", "[adaptation.tent]\nconfidence = 0.5\n"])
def test_tables_of_other_methods_are_checked_too(weights: Weights, tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"settings\.toml: .*known: "):
        resolve(weights, config_of(tmp_path, text), Overrides(), CPU)


def test_the_settings_of_a_run_are_a_config_file(weights: Weights, tmp_path: Path) -> None:
    config = tmp_path / "again.toml"
    config.write_text('[adaptation]\nmethod = "ln-adapt"\n\n[adaptation.constants]\nmomentum = 0.7\n')
    assert resolve(weights, config, Overrides(), CPU).adaptation.constants == {"momentum": 0.7}
    config.write_text('[adaptation]\nmethod = "online"\n\n[adaptation.constants]\nmomentum = 0.7\n')
    with pytest.raises(UsageError, match="unknown setting 'momentum'"):
        resolve(weights, config, Overrides(), CPU)


def test_a_file_takes_what_the_command_line_takes(weights: Weights, tmp_path: Path) -> None:
    words = config_of(tmp_path, '[adaptation]\nwindow = "auto"\nbudget = "none"\n[adaptation.tent]\nwindow = "inf"\n')
    adaptation = resolve(weights, words, Overrides(), CPU, budget=1.1).adaptation
    assert (adaptation.auto_window, adaptation.window, adaptation.budget) == (True, 16, 0.0)
    tent = Overrides(adaptation=AdaptationOverrides(method="tent"))
    assert resolve(weights, words, tent, CPU).adaptation.window == 0
    for text, window in (("inf", 0), ("auto", 16), ("8", 8)):
        assigned = Overrides(assigned=parse_assignments([f"adaptation.window={text}", "adaptation.budget=none"]))
        adaptation = resolve(weights, None, assigned, CPU, budget=1.1).adaptation
        assert (adaptation.window, adaptation.auto_window, adaptation.budget) == (window, text == "auto", 0.0)
    with pytest.raises(UsageError, match="window: must be int, not 'all'"):
        resolve(weights, config_of(tmp_path, '[adaptation]\nwindow = "all"\n'), Overrides(), CPU)


def test_how_often_to_adapt_is_said_by_who_says_it_last(weights: Weights, tmp_path: Path) -> None:
    config = config_of(tmp_path, "[adaptation]\nbudget = 2.0\n")
    every = Overrides(adaptation=AdaptationOverrides(every=4))
    assert resolve(weights, config, every, CPU).adaptation.budget == 0
    budget = Overrides(adaptation=AdaptationOverrides(budget=1.5))
    adaptation = resolve(weights, config_of(tmp_path, "[adaptation]\nevery = 4\n"), budget, CPU).adaptation
    assert (adaptation.every, adaptation.budget) == (1, 1.5)
    with pytest.raises(UsageError, match="every and budget both say"):
        resolve(weights, config_of(tmp_path, "[adaptation]\nevery = 4\nbudget = 2.0\n"), Overrides(), CPU)


def test_a_preview_is_what_a_run_gets_but_for_constants(weights: Weights, tmp_path: Path) -> None:
    text = "[adaptation]\nmethod = 'ln-adapt'\nwindow = 4\n[adaptation.ln-adapt]\nmomentum = 0.7\n"
    config = config_of(tmp_path, text)
    settings = resolve(weights, config, Overrides(), CPU)
    without = dataclasses.replace(settings.adaptation, constants={})
    assert preview(weights, config, Overrides()) == dataclasses.replace(settings, adaptation=without)


def test_wrong_constants_are_named() -> None:
    with pytest.raises(UsageError, match="method tent: unknown constant 'momentum'; there are none"):
        method_named("tent", {"momentum": 0.1})
    with pytest.raises(UsageError, match="method self-train: confidence: must be float, not True"):
        method_named("self-train", {"confidence": True})


def test_every_constant_is_in_docs() -> None:
    rows = METHODS_PAGE.partition("| method | constants")[2].partition("\n\n")[0].splitlines()
    for name in METHODS:
        for constant in constants_of(name):
            assert any(f"`{name}`" in row and f"`{constant}`" in row for row in rows), f"{constant} of {name}"


# In evaluations


def test_tables_of_methods_are_part_of_what_is_evaluated(
    tiny_weights: Path, frames: Path, tmp_path: Path, capsys: Capture
) -> None:
    drive = tmp_path / "drive"
    (drive / "labels").mkdir(parents=True)
    frames.rename(drive / "images")
    for index in range(2):
        Image.new("L", (64, 48), 3).save(drive / "labels" / f"{index}.png")
    arguments = ["eval", "--dataset", "camvid", "--gt", str(drive), "--weights", str(tiny_weights), "--json"]
    arguments += ["--out", str(tmp_path / "out"), "--method", "joint,ln-adapt"]
    assert main(arguments) == 0
    plain = json.loads(capsys.readouterr().out)
    assert "adaptation_by_method" not in plain and "constants" not in plain["adaptation"]
    arguments += ["--set", "adaptation.ln-adapt.momentum=1.0"]
    assert main(arguments) == 1
    assert "holds an evaluation of other settings" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    changed = json.loads(capsys.readouterr().out)
    assert changed["adaptation_by_method"] == {"ln-adapt": {"momentum": 1.0}}
    assert changed["settings"]["ln-adapt"]["constants"] == {"momentum": 1.0}
    for text in ("adaptation.method=tent", "adaptation.seed=1", "adaptation.tent.window=2"):
        assert main([*arguments, "--set", text]) == 2
        assert "tttv eval takes it from --" in capsys.readouterr().err
