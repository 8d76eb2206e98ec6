"""Memory, open files and time of a frame late in a run over those early in it, on a clip made by ffmpeg.

python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import torch

from ttt_cli.model.opening import open_weights
from ttt_cli.run.overrides import AdaptationOverrides, Overrides, TaskOverrides
from ttt_cli.run.peak_memory import peak_mebibytes
from ttt_cli.run.request import RunRequest
from ttt_cli.run.runner import run_video
from ttt_cli.run.settings import resolve
from ttt_cli.run.steps import Step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="street")
    parser.add_argument("--method", default="online")
    parser.add_argument("--size", default="128x96")
    parser.add_argument("--early", type=int, default=1000)
    parser.add_argument("--late", type=int, default=20000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        source = f"testsrc2=size={arguments.size}:rate=25:duration={arguments.late / 25}"
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "lavfi", "-i", source, str(clip)]
        subprocess.run(ffmpeg, check=True)
        weights, device = open_weights(arguments.weights), torch.device("cpu")
        adaptation = AdaptationOverrides(method=arguments.method)
        task = TaskOverrides(task=weights.tasks[0])
        settings = resolve(weights, None, Overrides(adaptation=adaptation, task=task), device)
        peaks: list[float] = []
        files: list[int] = []
        moments: list[float] = []
        request = RunRequest(str(clip), weights, settings, device, out=Path(folder) / "run")

        def record_peak(step: Step) -> None:
            peak = peak_mebibytes(device)
            assert peak is not None, "this system does not tell how much memory a process uses"
            peaks.append(peak)
            files.append(len(os.listdir("/proc/self/fd")))
            moments.append(time.perf_counter())

        run_video(request, on_step=record_peak)
    for name, values in (
        ("peak memory in MiB", peaks),
        ("open files", files),
        ("milliseconds a frame", _times(moments)),
    ):
        early, late = (statistics.median(values[:frame][-100:]) for frame in (arguments.early, arguments.late))
        at = f"{early:.1f} at frame {arguments.early}, {late:.1f} at frame {arguments.late}"
        print(f"{name}: {at}; ratio {late / early:.3f}")


def _times(moments: list[float]) -> list[float]:
    """Milliseconds from each moment, in seconds, to the next."""
    return [(later - sooner) * 1000 for sooner, later in pairwise(moments)]


if __name__ == "__main__":
    main()
