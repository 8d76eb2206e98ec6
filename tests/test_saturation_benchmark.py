"""benchmarks/saturation.py from a recipe to its printed table, on pictures made for the purpose."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import saturation
from conftest import picture, save_frames

RECIPE = """
name = "colors"
objective = "colorization"
license = "none"
[[sources]]
kind = "pictures"
folder = "pictures"
held_out = 2
"""


def test_what_stronger_colors_cost(
    color_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_frames([picture(seed) for seed in range(4)], tmp_path / "pictures")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    command = ["saturation.py", "--recipe", str(tmp_path / "recipe.toml"), "--data", str(tmp_path)]
    command += ["--weights", str(color_weights)]
    monkeypatch.setattr("sys.argv", [*command, "--curves", "factor,strong,weak,limit,matched"])
    saturation.main()
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith("2 stills: ")
    assert len(lines) == len(saturation.FACTORS) + 6 + 4 + 6 + 3
    assert re.fullmatch(r"r \* 1 +all \+0\.00 dB, \d+%  odd \+0\.00 dB, \d+%  even \+0\.00 dB, \d+%", lines[0])
    shares = [int(share) for share in re.findall(r"all \S+ dB, (\d+)%", "\n".join(lines[-3:]))]
    assert shares == sorted(shares) and shares[-1] > 0, "matched radii are those of colored pictures"
    monkeypatch.setattr("sys.argv", [*command, "--curves", "none"])
    with pytest.raises(SystemExit, match="unknown curve: none"):
        saturation.main()
