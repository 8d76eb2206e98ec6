"""The notebook runs from its first cell to its last, as it would for a new user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import PATIENCE

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "video_from_python.ipynb"
CODE = [
    "".join(cell["source"])
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    if cell["cell_type"] == "code"
]


def test_it_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if "outputs" in cell)


@pytest.mark.skipif(not find_spec("skvideo"), reason="needs the extra demo")
def test_its_code_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "\n".join(CODE)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "knows sky, building" in done.stdout and done.stdout.count("s, loss 0.") == 3
    assert done.stdout.count("% of the pixels") == 3 and " 100.0 %" not in done.stdout
    assert (tmp_path / "adapted.safetensors").is_file()


@pytest.mark.skipif(not find_spec("skvideo"), reason="needs the extra demo")
def test_it_runs_in_jupyter(tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="needs the extra notebook")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=PATIENCE, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 1
