"""Ratio of peak memory at frame 2000 to peak memory at frame 200, in one run on a clip made by ffmpeg.

python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
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
    parser.add_argument("--early", type=int, default=200)
    parser.add_argument("--late", type=int, default=2000)
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
        request = RunRequest(str(clip), weights, settings, device, out=Path(folder) / "run")

        def record_peak(step: Step) -> None:
            peak = peak_mebibytes(device)
            assert peak is not None, "this system does not tell how much memory a process uses"
            peaks.append(peak)

        run_video(request, on_step=record_peak)
    early, late = peaks[arguments.early - 1], peaks[arguments.late - 1]
    print(f"peak at frame {arguments.early}: {early:.0f} MiB; at frame {arguments.late}: {late:.0f} MiB")
    print(f"ratio {late / early:.3f}")


if __name__ == "__main__":
    main()
