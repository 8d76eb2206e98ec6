"""Ratio of the times of two whole runs on the same video, which take turns for several rounds: the paper's, with a step
before every frame, over the fixed model's, or any other two.

python benchmarks/ratio.py data/camvid/video_0016E5_15hz/images --fps 15

With `--command colorize` both runs use that command. `--run "--task panoptic --method joint" --over "--method joint"`
divides panoptic's time by semantic's.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def timed_run(name: str, arguments: list[str], out: Path) -> tuple[float, dict[str, float]]:
    """Wall-clock seconds of a whole `tttv` process, and the seconds of its stages."""
    command = [sys.executable, "-m", "ttt_cli", name, *arguments, "--out", str(out), "--quiet"]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    return wall, json.loads((out / "run.json").read_text(encoding="utf-8"))["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--command", default="segment", choices=("segment", "colorize"))
    parser.add_argument("--run", default="--method online --budget none", help="options of the measured run")
    parser.add_argument("--over", default="--method joint", help="options of the run that it is compared with")
    parser.add_argument("input")
    arguments, passed_on = parser.parse_known_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(arguments.rounds):
            walls = {}
            for number, options in enumerate((arguments.over, arguments.run)):
                command_line = [arguments.input, *passed_on, *shlex.split(options)]
                walls[options], stages = timed_run(arguments.command, command_line, Path(folder) / f"{index}-{number}")
                parts = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items() if stage != "total")
                print(f"round {index}, {options}: {walls[options]:.1f} s with start-up; stages (they overlap): {parts}")
            ratios.append(walls[arguments.run] / walls[arguments.over])
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"({arguments.run}) / ({arguments.over}): median {statistics.median(ratios):.2f}, {spread}")


if __name__ == "__main__":
    main()
