"""Time of the whole `online` run over the whole `joint` run: one video, run in turn, several times.

python benchmarks/ratio.py ../shared/data/camvid/video_0016E5_15hz/images --fps 15
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def timed_run(method: str, arguments: list[str], out: Path) -> tuple[float, dict[str, float]]:
    """Wall seconds of one `tttv segment` process from start to end, and the seconds of its stages."""
    command = [sys.executable, "-m", "ttt_cli", "segment", *arguments, "--method", method, "--out", str(out), "--quiet"]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    return wall, json.loads((out / "run.json").read_text(encoding="utf-8"))["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("input")
    arguments, passed_on = parser.parse_known_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(arguments.rounds):
            runs = {
                method: timed_run(method, [arguments.input, *passed_on], Path(folder) / f"{method}-{index}")
                for method in ("joint", "online")
            }
            ratios.append(runs["online"][0] / runs["joint"][0])
            for method, (wall, stages) in runs.items():
                parts = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items() if stage != "total")
                print(f"round {index}, {method:6s}: {wall:6.1f} s with start-up; stages (they overlap): {parts}")
    print(f"online / joint: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
