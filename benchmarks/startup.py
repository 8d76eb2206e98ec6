"""Start-up time of `tttv --help` and `import ttt_cli` in this checkout relative to another, measured in turn.

git worktree add ../before e88e5c6 && python benchmarks/startup.py --before ../before
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {"tttv --help": ["-m", "ttt_cli", "--help"], "import ttt_cli": ["-c", "import ttt_cli"]}


def seconds(checkout: Path, arguments: list[str]) -> float:
    """Seconds that a process takes that imports the package from `checkout`."""
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    command = [sys.executable, *arguments]
    subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the other version")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    now = Path(__file__).parents[1]
    for title, command in COMMANDS.items():
        seconds(arguments.before, command), seconds(now, command)  # The first run of each compiles.
        ratios = [seconds(now, command) / seconds(arguments.before, command) for _ in range(arguments.rounds)]
        print(f"{title}: now over before, median {statistics.median(ratios):.3f} of {arguments.rounds} rounds")


if __name__ == "__main__":
    main()
