"""How long a user waits, in this checkout relative to another, measured in turn: for help, for an error, for a frame.

git worktree add ../before e88e5c6 && python benchmarks/startup.py --before ../before
python benchmarks/startup.py --before ../before --video drive.mp4    # also until the log has the first frame

Ratios are of seconds by the clock, so nothing else should run. The seconds of this checkout are printed beside them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

COMMANDS = {
    "tttv --help": ["-m", "ttt_cli", "--help"],
    "import ttt_cli": ["-c", "import ttt_cli"],
    "a missing file": ["-m", "ttt_cli", "segment", "absent.mp4"],
    "an unknown method": ["-m", "ttt_cli", "segment", "absent.mp4", "--method", "absent"],
}
SECONDS_BETWEEN_LOOKS = 0.005


def started(checkout: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    """A process that imports the package from `checkout`."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    command, nowhere = [sys.executable, *arguments], subprocess.DEVNULL
    return subprocess.Popen(command, cwd=checkout, env=environment, stdout=nowhere, stderr=nowhere)


def seconds(checkout: Path, arguments: list[str]) -> float:
    """Seconds until such a process ends."""
    began = time.perf_counter()
    started(checkout, arguments).wait()
    return time.perf_counter() - began


def seconds_to_frame(checkout: Path, video: Path) -> float:
    """Seconds from the command until the log of the run has its first frame, which is then drawn and written, too."""
    folder = Path(tempfile.mkdtemp())
    log = folder / "run" / "frames.jsonl"
    began = time.perf_counter()
    process = started(checkout, ["-m", "ttt_cli", "segment", str(video), "--out", str(log.parent), "--max-frames", "2"])
    try:
        while not (log.is_file() and log.stat().st_size):
            if process.poll() is not None:
                raise SystemExit(f"{video}: the run ended with code {process.returncode} without a frame")
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return time.perf_counter() - began
    finally:
        process.wait()
        shutil.rmtree(folder)


def compare(title: str, measure: Callable[[Path], float], before: Path, rounds: int) -> None:
    """Prints the ratio of what is measured of this checkout to that of `before`, and the former in seconds."""
    now = Path(__file__).parents[1]
    measure(before), measure(now)  # The first run of each compiles.
    pairs = [(measure(before), measure(now)) for _ in range(rounds)]
    ratio = statistics.median(after / earlier for earlier, after in pairs)
    ours = statistics.median(after for _, after in pairs)
    print(f"{title}: now over before, median {ratio:.3f} of {rounds} rounds; now {ours:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the other version")
    parser.add_argument("--video", type=Path, help="a video of which the first frame is waited for")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    for title, command in COMMANDS.items():
        compare(title, partial(seconds, arguments=command), arguments.before, arguments.rounds)
    if arguments.video is not None:
        measure = partial(seconds_to_frame, video=arguments.video.absolute())
        compare("first frame", measure, arguments.before, arguments.rounds)


if __name__ == "__main__":
    main()
