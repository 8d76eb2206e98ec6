"""The README agrees with the program."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main
from conftest import noise_frames

from ttt_cli import __version__
from ttt_cli.adaptation.methods import METHODS, base
from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.cli import app
from ttt_cli.core.classes import CAMVID
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.tasks.semantic import SemanticTask

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command of the program by its full name, as the parser knows it."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


COMMANDS = dict(commands(typer.main.get_command(app), "tttv"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_in_the_readme(name: str) -> None:
    assert name in README
    section = README[README.index(f"## {' '.join(name.split()[:2])}") :]
    section = section[: section.index("\n## ", 1)]
    for parameter in COMMANDS[name].params:
        for option in parameter.opts:
            if option.startswith("--") and option != "--help":
                assert re.search(rf"{option}\b", section), f"{option} is missing from the section on {name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        if parameter.name != "help":
            assert parameter.help, f"{name}: {parameter.name} has no help"


@pytest.mark.skipif(not (ROOT / ".ci" / "run").exists(), reason="needs the repository")
def test_ci_runs_the_two_commands_of_the_readme() -> None:
    section = README[README.index("<!-- set-up -->") : README.index("<!-- end of set-up -->")]
    assert len(re.findall(r"^python .*$", section, re.MULTILINE)) == 2
    assert "<!-- set-up -->" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.skipif(not (ROOT / ".github").exists(), reason="needs the repository")
def test_the_workflow_reads_the_commands_as_ci_run_does_on_every_python() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    (reads,) = re.findall(r"sed -n .* README\.md", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert reads in workflow
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^ +python: \[(.*)\]$", workflow, re.MULTILINE)
    assert re.findall(r"Python :: (3\.\d+)", project) == re.findall(r"3\.\d+", listed)


def test_the_citation_has_the_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [__version__]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_links_lead_to_files(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if not link.startswith("http")]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_method_in_architecture_md_works(tiny_model: TwoHeadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert example
    names: dict[str, Any] = {**vars(base), "__name__": __name__}
    exec(textwrap.dedent(example[1]), names)
    monkeypatch.setitem(METHODS, "confident", names["Confident"]("confident"))
    before = {name: parameter.clone() for name, parameter in tiny_model.named_parameters()}
    settings = AdaptationSettings(method="confident")
    adapter = Adapter(tiny_model, SemanticTask(CAMVID), settings, ReconstructionSettings(), torch.device("cpu"))
    assert adapter.step(noise_frames(1)[0]).loss is not None
    moved = {name for name, value in tiny_model.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("encoder.") and name.endswith("bias") for name in moved)
