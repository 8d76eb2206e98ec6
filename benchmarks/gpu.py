"""Speed and memory on a graphics card: frames a second of fixed and adapting models, and what a step costs.

python benchmarks/gpu.py

Each row is a model, a size and a precision, in a process of its own: `street`, and a Mask2Former with Swin-S, the 133
classes of COCO and random weights, on which neither depends. A frame counts from its pixels in the memory of the CPU to
its labels there; `adapting` takes a step before every prediction. Prints a table for docs/speed.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from low_memory import made_up_image, random_mask2former, with_head

from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import Precision
from ttt_cli.core.frame import Frame
from ttt_cli.model.opening import open_weights
from ttt_cli.run.overrides import AdaptationOverrides, InputOverrides, Overrides
from ttt_cli.run.peak_memory import forget_peak, peak_mebibytes
from ttt_cli.run.settings import resolve, task_of

SIZES = ("480x360", "1920x1080")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
WARM_UP = 3
"""Frames that are not counted: the first ones choose kernels and make AdamW's state."""


@dataclass(frozen=True)
class Speed:
    """How a method runs."""

    frames_a_second: float
    adapt_milliseconds: float
    """Median of a frame's step."""
    predict_milliseconds: float
    """Median of a frame's prediction."""
    peak_mebibytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=30, help="that are counted")
    parser.add_argument("--device", default="cuda", help="another one, such as cpu, to try the program itself")
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--measure", nargs=3, metavar=("WEIGHTS", "SIZE", "PRECISION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py: there is no card here: torch.cuda.is_available() is False")
    device = torch.device(arguments.device)
    if arguments.measure:
        weights, size, precision = arguments.measure
        print(json.dumps(measured(weights, size, precision, arguments.frames, device)))
        return
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else arguments.device
    print(f"{name}, torch {torch.__version__}, {arguments.frames} frames\n")
    print("| model | size | precision | fixed, frames/s | adapting, frames/s | step / prediction | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    options = ["--frames", str(arguments.frames), "--device", arguments.device]
    with tempfile.TemporaryDirectory() as folder:
        models = {"street": "street", "Mask2Former Swin-S": str(random_mask2former(Path(folder)))}
        for model, weights in models.items():
            for size in arguments.sizes.split(","):
                for precision in PRECISIONS:
                    command = [sys.executable, __file__, *options, "--measure", weights, size, precision]
                    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                    fixed, adapting = (Speed(**speed) for speed in json.loads(done.stdout))
                    ratio = adapting.adapt_milliseconds / fixed.predict_milliseconds
                    peak = max(fixed.peak_mebibytes, adapting.peak_mebibytes)
                    print(
                        f"| {model} | {size} | {precision} | {fixed.frames_a_second:.2f} | "
                        f"{adapting.frames_a_second:.2f} | {ratio:.2f} | {peak:.0f} |",
                        flush=True,
                    )


def measured(
    name: str, size: str, precision: Precision, frames: int, device: torch.device
) -> list[dict[str, float | None]]:
    """The speeds of the fixed model and of `online`, in this order."""
    width, height = map(int, size.split("x"))
    weights = open_weights(name)
    overrides = Overrides(
        adaptation=AdaptationOverrides(method="joint", precision=precision),
        input=InputOverrides(size=min(height, width)),
    )
    settings = resolve(weights, None, overrides, device)
    model, task = with_head(weights.load()).to(device), task_of(weights, settings)
    frame = Frame(0, "000000", 0.0, made_up_image(height, width))
    speeds = []
    for method in ("joint", "online"):
        adaptation = replace(settings.adaptation, method=method)
        speeds.append(speed_of(Adapter(model, task, adaptation, settings.reconstruction, device), frame, frames))
    return speeds


def speed_of(adapter: Adapter, frame: Frame, frames: int) -> dict[str, float | None]:
    """The content of a `Speed`."""
    device = adapter.compute.device
    size = (frame.image.shape[-2], frame.image.shape[-1])
    for _ in range(WARM_UP):
        adapter.step(frame).prediction.at_size(size)
    forget_peak(device)
    timings = []
    began = time.perf_counter()
    for _ in range(frames):
        result = adapter.step(frame)
        result.prediction.at_size(size)
        timings.append(result.timing)
    seconds = time.perf_counter() - began
    adapter.restore()
    return {
        "frames_a_second": frames / seconds,
        "adapt_milliseconds": statistics.median(timing.adapt_milliseconds for timing in timings),
        "predict_milliseconds": statistics.median(timing.predict_milliseconds for timing in timings),
        "peak_mebibytes": peak_mebibytes(device),
    }


if __name__ == "__main__":
    main()
