"""Options that several commands share. `with_options` in cli/_signature.py turns these dataclasses into parameters.

An option is None if it was not given; the defaults are in the dataclasses of settings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from ttt_cli.adaptation.settings import BUDGET, AdaptationSettings
from ttt_cli.cli._values import AtCuts, Device, ExposureName, Moves, Precision, ReaderName, parse_budget, parse_window
from ttt_cli.run.overrides import AdaptationOverrides, InputOverrides, Tables, parse_assignments
from ttt_cli.tasks.settings import TaskSettings
from ttt_cli.video.settings import InputSettings

_ELSE = "the weights' recommendation, else"

WeightsName = Annotated[
    str,
    typer.Option(
        "--weights",
        metavar="NAME|PATH|ID",
        help="Weights: a name (tttv weights list), a file, a folder of transformers or smp, an id of the hub, "
        "detectron2:CONFIG.yaml#MODEL.pth, or torchvision:NAME.",
    ),
]
AllowPickle = Annotated[
    bool,
    typer.Option("--allow-pickle", help="Load a published model that has no safetensors; no code in its pickle runs."),
]
DeviceName = Annotated[Device, typer.Option("--device", help="auto is CUDA if available, else the CPU.")]
PrecisionName = Annotated[Precision, typer.Option("--precision", help="auto is bf16 on CUDA, fp32 elsewhere.")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="TOML file with sections input, task, adaptation, reconstruction, output."
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.NAME=VALUE",
        help="Set any setting, such as adaptation.forgetting=0.1; overrides all else; may be repeated.",
    ),
]
Source = Annotated[str, typer.Argument(metavar="INPUT", help="A video file, or a folder or (quoted) glob of pictures.")]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="A video file, or a folder or (quoted) glob of pictures; several of them, or a list.txt with one a line; "
        "or live input: - (a pipe), camera:0, rtsp://, http(s)://.",
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        help=f"online is the paper's; joint is the fixed model. (default: {_ELSE} {AdaptationSettings.method})",
    ),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder to write. (default: runs/INPUT-METHOD)")]
Start = Annotated[float | None, typer.Option("--start", metavar="SECONDS", help="Skip everything before this time.")]
End = Annotated[float | None, typer.Option("--end", metavar="SECONDS", help="Stop at this time.")]
Fps = Annotated[float | None, typer.Option("--fps", metavar="RATE", help="Frames a second of a folder. (default: 10)")]
Compare = Annotated[
    bool, typer.Option("--compare", help="Show the fixed model on the left, the adapted model on the right.")
]
Task = Annotated[
    str | None,
    typer.Option("--task", metavar="NAME", help=f"semantic, instance or panoptic. (default: {TaskSettings.task})"),
]
Window = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="K|inf|auto",
        help="Frames to train on: the last K, all so far (inf), or a number estimated from the video (auto). "
        f"(default: {_ELSE} {AdaptationSettings.window})",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps", metavar="N", help=f"Gradient steps per frame. (default: {_ELSE} {AdaptationSettings.steps})"
    ),
]
Batch = Annotated[
    int | None,
    typer.Option("--batch", metavar="N", help=f"Images per step. (default: {_ELSE} {AdaptationSettings.batch})"),
]
MaskRatio = Annotated[
    float | None,
    typer.Option(
        "--mask-ratio", metavar="R", help="Share of patches that are masked. (default: as the weights were trained)"
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--lr", metavar="RATE", help=f"Learning rate. (default: {_ELSE} {AdaptationSettings.learning_rate:g})"
    ),
]
Depth = Annotated[
    int | None,
    typer.Option(
        "--depth",
        metavar="N",
        help="Train only the last N blocks of the encoder, for less time per step; 0 is all of it. "
        f"(default: {_ELSE} {AdaptationSettings.depth})",
    ),
]
MovesName = Annotated[
    Moves | None,
    typer.Option(
        "--moves",
        help="Train all parameters of the encoder, or only those of normalization layers, or only biases. "
        f"(default: {_ELSE} {AdaptationSettings.moves})",
    ),
]
Cuts = Annotated[
    AtCuts | None,
    typer.Option(
        "--cuts", help=f"Whether a cut between scenes empties the window. (default: {AdaptationSettings.cuts})"
    ),
]
Every = Annotated[
    int | None,
    typer.Option("--every", metavar="N", help="Adapt on every Nth frame, and on the first ones of a scene; no budget."),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="X|none",
        help="Adapt as often as keeps the run within X times its predictions, as measured while it runs; none is the "
        f"paper's step before every frame. (default: {BUDGET})",
    ),
]
LowMemory = Annotated[
    bool, typer.Option("--low-memory", help="Steps hold less in memory and take longer; the numbers stay the same.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help=f"Random seed. (default: {AdaptationSettings.seed})")
]
Size = Annotated[
    int | None,
    typer.Option(
        "--size",
        metavar="N",
        help=f"Shortest side of the model's input, in pixels; never scaled up. (default: {InputSettings.size})",
    ),
]
Stride = Annotated[
    int | None, typer.Option("--stride", metavar="N", help=f"Use every Nth frame. (default: {InputSettings.stride})")
]
MaxFrames = Annotated[
    int | None, typer.Option("--max-frames", metavar="N", help="Use at most N frames. (default: all)")
]
Exposure = Annotated[
    ExposureName | None,
    typer.Option(
        "--exposure",
        help="match brings a frame's brightness, contrast and white balance near those of the training pictures. "
        f"(default: {_ELSE} {InputSettings.exposure})",
    ),
]
Reader = Annotated[
    ReaderName | None,
    typer.Option(
        "--reader",
        help="What decodes a video file; decord only where it is known to agree with ffmpeg. "
        f"(default: {InputSettings.reader})",
    ),
]
HwAccel = Annotated[
    str | None,
    typer.Option(
        "--hwaccel", metavar="NAME", help="Hardware that helps ffmpeg to decode, such as cuda, vaapi or auto."
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        help=f"Live input that sends nothing for so long has ended. (default: {InputSettings.timeout:g})",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in the output folder.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with the run in the output folder if it was cut off; else begin one."),
]
Json = Annotated[bool, typer.Option("--json", help="Print only a JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the path of the output.")]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How the model trains on each frame."""

    steps: Steps = None
    batch: Batch = None
    mask_ratio: MaskRatio = None
    learning_rate: LearningRate = None
    depth: Depth = None
    moves: MovesName = None
    cuts: Cuts = None
    low_memory: LowMemory = False

    def overrides(self, precision: Precision) -> AdaptationOverrides:
        """The given options, except the mask ratio, which belongs to another section."""
        return AdaptationOverrides(
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            depth=self.depth,
            moves=None if self.moves is None else self.moves.value,
            cuts=None if self.cuts is None else self.cuts.value,
            precision=None if precision is Precision.auto else precision.value,
            low_memory=True if self.low_memory else None,
        )


@dataclass(frozen=True, kw_only=True)
class AdaptationOptions:
    """How one method adapts to one video."""

    method: Method = None
    window: Window = None
    training: TrainingOptions
    every: Every = None
    budget: Budget = None
    seed: Seed = None

    def overrides(self, precision: Precision) -> AdaptationOverrides:
        """The given options. Raises UsageError if the window is not valid."""
        automatic = self.window == "auto"
        return replace(
            self.training.overrides(precision),
            method=self.method,
            window=None if self.window is None or automatic else parse_window(self.window),
            auto_window=True if automatic else None,
            every=self.every,
            budget=None if self.budget is None else parse_budget(self.budget),
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """What the model may be read from, and the device and the number format that it computes in."""

    allow_pickle: AllowPickle = False
    device: DeviceName = Device.auto
    precision: PrecisionName = Precision.auto


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """Which frames of labeled videos are read, and how large the model sees them."""

    size: Size = None
    stride: Stride = None
    max_frames: MaxFrames = None
    exposure: Exposure = None
    reader: Reader = None
    hwaccel: HwAccel = None

    def overrides(self) -> InputOverrides:
        """The given options."""
        return InputOverrides(
            size=self.size,
            stride=self.stride,
            max_frames=self.max_frames,
            exposure=None if self.exposure is None else self.exposure.value,
            reader=None if self.reader is None else self.reader.value,
            hwaccel=self.hwaccel,
        )


@dataclass(frozen=True, kw_only=True)
class InputOptions(FrameOptions):
    """Which frames of any video are read, and how large the model sees them."""

    start: Start = None
    end: End = None
    fps: Fps = None
    timeout: Timeout = None

    def overrides(self) -> InputOverrides:
        """The given options."""
        return replace(super().overrides(), start=self.start, end=self.end, fps=self.fps, timeout=self.timeout)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Other settings, whether to overwrite files, and what to print."""

    overwrite: Overwrite = False
    config: Config = None
    assignments: Assignments = None
    as_json: Json = False
    quiet: Quiet = False

    def assigned(self) -> Tables:
        """What `--set` says. Raises UsageError if it is not SECTION.NAME=VALUE."""
        return parse_assignments(self.assignments or [])


@dataclass(frozen=True, kw_only=True)
class VideoRunOptions(RunOptions):
    """The same of a run that can be resumed; an evaluation goes on in its folder by itself."""

    resume: Resume = False
