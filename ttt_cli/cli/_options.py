"""Options that several commands share. Each is None where it was not given: dataclasses hold the defaults."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.tasks.settings import TaskSettings
from ttt_cli.video.settings import InputSettings


class Device(str, Enum):
    """Where the model computes."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Precision(str, Enum):
    """What the model computes in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class AtCuts(str, Enum):
    """What happens to the window at a cut between scenes."""

    reset = "reset"
    ignore = "ignore"


_ELSE = "the weights' recommendation, else"

WeightsName = Annotated[str, typer.Option("--weights", metavar="NAME|PATH", help="Weights by name or as a file.")]
DeviceName = Annotated[Device, typer.Option("--device", help="auto is CUDA where there is one, else the CPU.")]
PrecisionName = Annotated[Precision, typer.Option("--precision", help="auto is bf16 on CUDA and fp32 elsewhere.")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="TOML with the sections input, task, adaptation, reconstruction, output."
    ),
]
Source = Annotated[str, typer.Argument(metavar="INPUT", help="A video file, or a folder or (quoted) glob of pictures.")]
Method = Annotated[
    str | None,
    typer.Option("--method", help=f"online adapts; joint is the fixed model. (default: {AdaptationSettings.method})"),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder to write. (default: runs/INPUT-METHOD)")]
Start = Annotated[float | None, typer.Option("--start", metavar="SECONDS", help="Skip what is before.")]
End = Annotated[float | None, typer.Option("--end", metavar="SECONDS", help="Stop there.")]
Fps = Annotated[float | None, typer.Option("--fps", metavar="RATE", help="Frames a second of a folder. (default: 10)")]
Compare = Annotated[bool, typer.Option("--compare", help="The fixed model on the left, the adapted one on the right.")]
Task = Annotated[
    str | None,
    typer.Option("--task", metavar="NAME", help=f"semantic, instance or panoptic. (default: {TaskSettings.task})"),
]
Window = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="K|inf|auto",
        help="Frames to train on: the last K, all so far, or as many as the video's own change and noise ask for. "
        f"(default: {_ELSE} {AdaptationSettings.window})",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option("--steps", metavar="N", help=f"Gradient steps a frame. (default: {_ELSE} {AdaptationSettings.steps})"),
]
Batch = Annotated[
    int | None,
    typer.Option("--batch", metavar="N", help=f"Images a step. (default: {_ELSE} {AdaptationSettings.batch})"),
]
MaskRatio = Annotated[
    float | None,
    typer.Option("--mask-ratio", metavar="R", help="Share of patches hidden. (default: as the weights were trained)"),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--lr", metavar="RATE", help=f"Learning rate. (default: {_ELSE} {AdaptationSettings.learning_rate:g})"
    ),
]
Cuts = Annotated[
    AtCuts | None,
    typer.Option(
        "--cuts", help=f"At a cut between scenes the window is emptied, or not. (default: {AdaptationSettings.cuts})"
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help=f"Random seed. (default: {AdaptationSettings.seed})")
]
Size = Annotated[
    int | None,
    typer.Option(
        "--size",
        metavar="N",
        help=f"Shortest side, in pixels, of what the model sees; never scaled up. (default: {InputSettings.size})",
    ),
]
Stride = Annotated[
    int | None, typer.Option("--stride", metavar="N", help=f"Every Nth frame. (default: {InputSettings.stride})")
]
MaxFrames = Annotated[int | None, typer.Option("--max-frames", metavar="N", help="At most N frames. (default: all)")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in the output folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the output's path and nothing else.")]


def input_table(
    start: float | None,
    end: float | None,
    stride: int | None,
    max_frames: int | None,
    fps: float | None,
    size: int | None,
) -> dict[str, Any]:
    """The section `input` as the command line has it."""
    return {"start": start, "end": end, "stride": stride, "max_frames": max_frames, "fps": fps, "size": size}


def adaptation_table(
    *,
    method: str | None = None,
    window: str | None = None,
    steps: int | None,
    batch: int | None,
    learning_rate: float | None,
    cuts: AtCuts | None,
    seed: int | None = None,
    precision: Precision,
) -> dict[str, Any]:
    """The section "adaptation" of what the command line says."""
    return {
        "method": method,
        "window": None if window is None or window == "auto" else parse_window(window),
        "auto_window": True if window == "auto" else None,
        "steps": steps,
        "batch": batch,
        "learning_rate": learning_rate,
        "cuts": None if cuts is None else cuts.value,
        "seed": seed,
        "precision": None if precision is Precision.auto else precision.value,
    }


def parse_window(text: str) -> int:
    """Frames in the window; 0 stands for `inf`, every frame so far. Raises UsageError for anything else."""
    if text == "inf":
        return 0
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"window must be a whole number of frames from 1 up, inf or auto, not {printable(text)!r}")
    return int(text)
