"""Which folder may import which. Imports inside functions and under TYPE_CHECKING count too.

Only circles of modules are told without TYPE_CHECKING: a method's hooks are handed the adapter that holds the method.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ttt_cli"
ALLOWED = {
    "core": "",
    "model": "core",
    "metrics": "core",
    "video": "core",
    "tasks": "core model metrics",
    "adaptation": "core model video tasks",
    "draw": "core video",
    "datasets": "core video tasks",
    "training": "core model metrics video tasks adaptation datasets",
    "preparation": "core model video adaptation training",
    "run": "core model metrics video tasks adaptation draw datasets",
    "many": "core model video run",
    "evaluate": "core model metrics video tasks adaptation draw datasets run",
    "report": "core model video tasks adaptation datasets run evaluate",
    "api": "core model tasks adaptation video run",
    "cli": "core model video tasks adaptation datasets training preparation run many evaluate report",
    "__main__": "cli",
    "ttt_cli": "core api",
}
"""What each folder may import besides itself: only folders in the lines above. "ttt_cli" is the package's __init__."""


def read(path: Path) -> tuple[str, str]:
    """The name and the source of a module."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__"), path.read_text(encoding="utf-8")


SOURCES = dict(map(read, PACKAGE.rglob("*.py")))


def folder(module: str) -> str:
    return module.split(".")[:2][-1]


def imported(source: str) -> set[str]:
    """The full names of everything that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not understood here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def arrows(sources: dict[str, str]) -> dict[str, set[str]]:
    """The modules of ours that each module imports."""

    def module(name: str) -> str:
        return name if name in sources else module(name.rpartition(".")[0])

    found = {}
    for importer, source in sources.items():
        names = {name for name in imported(source) if name.split(".")[0] == "ttt_cli"}
        found[importer] = set(map(module, names)) - {importer}
    return found


def forbidden(sources: dict[str, str]) -> list[str]:
    found = [
        f"{importer} imports {module}"
        for importer, modules in arrows(sources).items()
        for module in modules
        if folder(module) not in (folder(importer), *ALLOWED[folder(importer)].split())
    ]
    users_of_rich = {name for name, source in sources.items() for used in imported(source) if used.startswith("rich.")}
    return found + [f"{name} imports rich" for name in users_of_rich - {"ttt_cli.cli._console"}]


def without_types(source: str) -> str:
    """The source without the code that only the type checker sees."""

    class Remover(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST:
            is_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return ast.Pass() if is_types else node

    return ast.unparse(Remover().visit(ast.parse(source)))


def check_cycles(sources: dict[str, str]) -> None:
    TopologicalSorter(arrows({name: without_types(source) for name, source in sources.items()})).prepare()


def test_folders_import_only_what_is_allowed() -> None:
    assert forbidden(SOURCES) == []


def test_allowed_imports_have_no_cycle() -> None:
    folders = list(ALLOWED)
    for position, names in enumerate(ALLOWED.values()):
        assert set(names.split()) <= set(folders[:position])


def test_modules_have_no_cycle() -> None:
    check_cycles(SOURCES)


@pytest.mark.parametrize(
    ("module", "line", "reported"),
    [
        ("ttt_cli.core.new", "from ttt_cli.video import images", "ttt_cli.video.images"),
        ("ttt_cli.adaptation.new", "from ttt_cli.datasets.stream import Stream", "ttt_cli.datasets.stream"),
        ("ttt_cli.model.new", "import ttt_cli.adaptation.memory as memory", "ttt_cli.adaptation.memory"),
        ("ttt_cli.run.new", "from rich.table import Table", "rich"),
    ],
)
@pytest.mark.parametrize("block", ["if TYPE_CHECKING:", "def use():", "if True:"])
def test_a_forbidden_import_is_reported(module: str, line: str, reported: str, block: str) -> None:
    assert forbidden({**SOURCES, module: f"{block}\n    {line}\n"}) == [f"{module} imports {reported}"]


def test_a_cycle_of_modules_is_reported() -> None:
    with pytest.raises(CycleError):
        check_cycles({**SOURCES, "ttt_cli.core.errors": "def use():\n    from ttt_cli.core.toml import from_table\n"})
