"""README.md and docs/ agree with the program, and their links lead somewhere."""

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
DOCS = ROOT / "docs"
README_FILE = ROOT / "README.md"
README = README_FILE.read_text(encoding="utf-8")


def commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command of the program by its full name, as the parser knows it."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


COMMANDS = dict(commands(typer.main.get_command(app), "tttv"))


def section_on(name: str) -> str:
    """What docs/ say under the heading of a command, or under that of its group, such as `tttv weights`."""
    for heading in (name, name.rpartition(" ")[0]):
        found = [
            re.split(rf"(?m)^#{{1,{len(level)}}} ", text, maxsplit=1)[0]
            for page in DOCS.glob("*.md")
            for level, text in re.findall(rf"(?ms)^(#+) {heading}$(.*)\Z", page.read_text(encoding="utf-8"))
        ]
        if found:
            (section,) = found
            return section
    raise AssertionError(f"no page of docs/ has the heading {name}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_in_docs(name: str) -> None:
    section = section_on(name)
    assert name in section
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


PAGES = [README_FILE, ROOT / "CHANGELOG.md", ROOT / "ARCHITECTURE.md", *sorted(DOCS.glob("*.md"))]


def whole(page: Path) -> str:
    """The text of a page; some pages of the site are files of the repository's root."""
    text = page.read_text(encoding="utf-8")
    included = re.fullmatch(r'--8<-- "(.*)"\n', text)
    return (ROOT / included[1]).read_text(encoding="utf-8") if included else text


def without_code(page: Path) -> str:
    return re.sub(r"(?ms)^ *```.*?^ *```$", "", whole(page))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, which must be the same on GitHub as on the site.

    Both leave out punctuation, but of several hyphens in a row only the site makes one.
    """
    headings = re.findall(r"(?m)^#+ (.*)$", without_code(page))
    on_github = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert [anchor for anchor in on_github if "--" in anchor] == []
    assert len(on_github) == len(set(on_github)), f"{page.name} has two headings with the same anchor"
    return set(on_github)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    """Those of the site stay within docs/."""
    dead = []
    for path, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)", without_code(page)):
        target = (page.parent / path).resolve() if path else page
        outside = page != README_FILE and DOCS not in target.parents
        if outside or not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{path}#{anchor}")
    assert dead == []


def test_every_page_is_in_the_navigation_once() -> None:
    site = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    assert sorted(re.findall(r'"([\w-]+\.md)"', site)) == sorted(page.name for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_read_the_same_on_github_and_on_the_site(page: Path) -> None:
    """GitHub takes the backslash out of an escaped bar within code, the site shows it."""
    assert re.findall(r"`[^`\n]*\\\|[^`\n]*`", without_code(page)) == []


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda recipe: recipe.name)
def test_the_data_of_recipes_can_be_had(recipe: Path) -> None:
    """docs/data.md names every recipe, and shows every folder that one takes."""
    data = (DOCS / "data.md").read_text(encoding="utf-8")
    assert f"`{recipe.name}`" in data
    layout = data[data.index("```\ndata/") : data.index("Our figures")]
    for folder in re.findall(r'(?m)^folder = "(.*)"$', recipe.read_text(encoding="utf-8")):
        first, *rest = folder.split("/")
        assert re.search(rf"(?m)^  {first}/", layout), f"{folder} is not in docs/data.md"
        for part in rest[:1]:
            assert f"{part}/" in layout, f"{folder} is not in docs/data.md"


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


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
