"""benchmarks/pareto.py from labeled frames to its printed table, the points that it keeps, and the plot."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pareto
import pytest
from test_datasets import make_camvid

RECIPE = """
[[streams]]
name = "dark"
folder = "drive"
fps = 15
degrade = "low-light"
"""


def test_a_table_and_a_plot_of_what_is_left_of_the_gain(
    tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_camvid(tmp_path / "drive")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    points, plot = tmp_path / "points.jsonl", tmp_path / "plot.png"
    command = ["pareto.py", "--recipe", str(tmp_path / "recipe.toml"), "--data", str(tmp_path)]
    command += ["--row", str(tiny_weights), "online", "joint", "dark", "--points", str(points)]
    monkeypatch.setattr("sys.argv", [*command, "--every", "2", "1", "--budgets", "1.5"])
    pareto.main()
    title, _, *lines = capsys.readouterr().out.splitlines()
    assert title == "tiny, online over joint, dark"
    assert [line.split()[:2] for line in lines] == [["every", "1"], ["every", "2"], ["budget", "1.5"]]
    first, _, with_budget = map(json.loads, points.read_text().splitlines())
    assert first["point"]["frames"] == 3 and first["point"]["time"] > 1
    assert 1 <= with_budget["point"]["frames"] <= 3

    monkeypatch.setattr(pareto, "measured", lambda *_: pytest.fail("all points were kept"))
    monkeypatch.setattr("sys.argv", [*command, "--every", "1", "2", "--budgets", "1.5", "--plot", str(plot)])
    pareto.main()
    assert capsys.readouterr().out.splitlines()[2:] == lines
    assert plot.read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("sys.argv", [*command, "--every", "2"])
    with pytest.raises(SystemExit):
        pareto.main()
    assert "--every needs 1" in capsys.readouterr().err


def test_shares_of_the_gain() -> None:
    points = [pareto.Point(1, 0.0, 9, score, 40.0, 2.0) for score in (44.0, 43.0, 39.0)]
    assert pareto.shares(points) == [100, 75, -25]
    assert all(map(math.isnan, pareto.shares(points[2:])))
