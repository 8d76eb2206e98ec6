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
    passes, plot = tmp_path / "passes.jsonl", tmp_path / "plot.png"
    command = ["pareto.py", "--recipe", str(tmp_path / "recipe.toml"), "--data", str(tmp_path)]
    command += ["--row", str(tiny_weights), "online", "joint", "dark", "--passes", str(passes)]
    monkeypatch.setattr("sys.argv", [*command, "--every", "2", "1", "--budgets", "1.5"])
    pareto.main()
    title, _, *lines = capsys.readouterr().out.splitlines()
    assert title == "tiny, online over joint, dark"
    assert [line.split()[:2] for line in lines] == [["every", "1"], ["every", "2"], ["budget", "1.5"]]
    base, full, _, with_budget = (json.loads(line)["pass"] for line in passes.read_text().splitlines())
    assert base["whys"] == ["", "", ""] and "" not in full["whys"]
    assert with_budget["whys"][0] == "scene"
    assert sum(full["seconds"]) > sum(base["seconds"]) > 0

    monkeypatch.setattr(pareto, "passed", lambda *_: pytest.fail("all passes were kept"))
    monkeypatch.setattr("sys.argv", [*command, "--every", "1", "2", "--budgets", "1.5", "--plot", str(plot)])
    pareto.main()
    assert capsys.readouterr().out.splitlines()[2:] == lines
    assert plot.read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("sys.argv", [*command, "--every", "2"])
    with pytest.raises(SystemExit):
        pareto.main()
    assert "--every needs 1" in capsys.readouterr().err


def test_times_are_of_usual_frames_and_gains_in_percent_of_the_whole() -> None:
    base = pareto.Pass(0, 0.0, 40.0, [""] * 4, [1.0, 1.0, 1.0, 9.0])
    full = pareto.Pass(1, 0.0, 44.0, ["scene"] * 4, [5.0, 5.0, 50.0, 5.0])
    fewer = pareto.Pass(2, 0.0, 43.0, ["scene", "", "", ""], [6.0, 1.0, 1.0, 1.0])
    budget = pareto.Pass(0, 1.5, 39.0, ["scene", "", "interval", ""], [5.0, 1.0, 3.0, 1.0])
    points = pareto.points_of([base, full, fewer, budget])
    assert [point.label for point in points] == ["every 1", "every 2", "budget 1.5"]
    assert [point.frames for point in points] == [4, 1, 2]
    assert [point.share for point in points] == [100, 75, -25]
    assert [point.time for point in points] == [5, 2, 2.5]
    assert all(math.isnan(point.share) for point in pareto.points_of([full, fewer, budget]))
