"""Options that several commands share, each with its help once; `cli/_groups.py` has the groups that go together.

An option is None if it was not given; the defaults are in the dataclasses of settings. Options without a panel are
those that people use first. What is hidden works like all else, and --help-all shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ttt_cli.adaptation.catalog import SUMMARIES
from ttt_cli.adaptation.settings import BUDGET, AdaptationSettings
from ttt_cli.cli._values import AtCuts, Device, ExposureName, Moves, Precision, ReaderName
from ttt_cli.model.own import RELEASES
from ttt_cli.model.weights import ALL_TASKS
from ttt_cli.tasks.settings import TaskSettings
from ttt_cli.video.settings import InputSettings

INPUT, ADAPTATION, OUTPUT, MACHINE = "Input", "Adaptation", "Output", "Machine"
"""The panels of the help."""

_OR = "(default: as the weights say, or"


WeightsName = Annotated[
    str,
    typer.Option(
        "--weights",
        metavar="NAME|PATH|ID",
        autocompletion=lambda: list(RELEASES),
        help="A name (tttv weights list), a file, a folder, or an id of the Hugging Face hub.",
    ),
]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        rich_help_panel=MACHINE,
        help="Load models that come as pickles; no code in them runs.",
    ),
]
DeviceName = Annotated[
    Device, typer.Option("--device", rich_help_panel=MACHINE, help="auto is CUDA if available, else the CPU.")
]
PrecisionName = Annotated[
    Precision, typer.Option("--precision", rich_help_panel=MACHINE, help="auto is bf16 on CUDA, fp32 elsewhere.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        rich_help_panel=ADAPTATION,
        help="Settings in TOML, or the run.json of a run.",
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.NAME=VALUE",
        rich_help_panel=ADAPTATION,
        help="Any setting, such as adaptation.forgetting=0.1; may be repeated.",
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
        metavar="NAME",
        autocompletion=lambda: list(SUMMARIES),
        help=f"How to adapt (tttv methods). {_OR} {AdaptationSettings.method})",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR|FILE.mp4",
        help="Folder to write, or a video with its folder beside it. (default: runs/INPUT-METHOD)",
    ),
]
Start = Annotated[float | None, typer.Option("--start", metavar="SECONDS", help="Skip everything before this time.")]
End = Annotated[float | None, typer.Option("--end", metavar="SECONDS", help="Stop at this time.")]
Fps = Annotated[
    float | None,
    typer.Option("--fps", metavar="RATE", rich_help_panel=INPUT, help="Frames a second of a folder. (default: 10)"),
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="NAME",
        autocompletion=lambda: list(ALL_TASKS),
        help=f"semantic, instance or panoptic. (default: {TaskSettings.task})",
    ),
]
Window = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="K|inf|auto",
        rich_help_panel=ADAPTATION,
        help=f"Train on the last K frames, or on all. {_OR} {AdaptationSettings.window})",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        metavar="N",
        rich_help_panel=ADAPTATION,
        hidden=True,
        help=f"Gradient steps per frame. {_OR} {AdaptationSettings.steps})",
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(
        "--batch",
        metavar="N",
        rich_help_panel=ADAPTATION,
        hidden=True,
        help=f"Images per step. {_OR} {AdaptationSettings.batch})",
    ),
]
MaskRatio = Annotated[
    float | None,
    typer.Option(
        "--mask-ratio",
        metavar="R",
        rich_help_panel=ADAPTATION,
        hidden=True,
        help="Share of patches that are masked. (default: as the weights were trained)",
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--lr",
        metavar="RATE",
        rich_help_panel=ADAPTATION,
        hidden=True,
        help=f"Learning rate. {_OR} {AdaptationSettings.learning_rate:g})",
    ),
]
Depth = Annotated[
    int | None,
    typer.Option(
        "--depth",
        metavar="N",
        rich_help_panel=ADAPTATION,
        hidden=True,
        help="Train only the last N blocks of the encoder, for less time per step; 0 is all of it. "
        f"{_OR} {AdaptationSettings.depth})",
    ),
]
MovesName = Annotated[
    Moves | None,
    typer.Option(
        "--moves",
        rich_help_panel=ADAPTATION,
        hidden=True,
        help="Train all parameters of the encoder, or only those of normalization layers, or only biases. "
        f"{_OR} {AdaptationSettings.moves})",
    ),
]
Cuts = Annotated[
    AtCuts | None,
    typer.Option(
        "--cuts",
        rich_help_panel=ADAPTATION,
        hidden=True,
        help=f"Whether a cut between scenes empties the window. (default: {AdaptationSettings.cuts})",
    ),
]
Every = Annotated[
    int | None,
    typer.Option(
        "--every",
        metavar="N",
        rich_help_panel=ADAPTATION,
        help="Adapt on every Nth frame, and on the first of a scene; no budget.",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="X|none",
        rich_help_panel=ADAPTATION,
        help="Adapt as often as keeps the run within X times its predictions; none is the paper's step before every "
        f"frame. (default: {BUDGET})",
    ),
]
LowMemory = Annotated[
    bool,
    typer.Option(
        "--low-memory",
        rich_help_panel=MACHINE,
        help="Steps take less memory and more time; the same numbers.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", metavar="N", rich_help_panel=ADAPTATION, help=f"Random seed. (default: {AdaptationSettings.seed})"
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        "--size",
        metavar="N",
        rich_help_panel=INPUT,
        help=f"Shortest side of what the model sees, in pixels. (default: {InputSettings.size})",
    ),
]
Stride = Annotated[
    int | None,
    typer.Option(
        "--stride", metavar="N", rich_help_panel=INPUT, help=f"Use every Nth frame. (default: {InputSettings.stride})"
    ),
]
MaxFrames = Annotated[
    int | None,
    typer.Option("--max-frames", metavar="N", help="Use at most N frames. (default: all)"),
]
Exposure = Annotated[
    ExposureName | None,
    typer.Option(
        "--exposure",
        rich_help_panel=INPUT,
        help=f"match: brighten frames as the training pictures are. {_OR} {InputSettings.exposure})",
    ),
]
Reader = Annotated[
    ReaderName | None,
    typer.Option(
        "--reader",
        rich_help_panel=INPUT,
        hidden=True,
        help="What decodes a video file; decord only where it is known to agree with ffmpeg. "
        f"(default: {InputSettings.reader})",
    ),
]
HwAccel = Annotated[
    str | None,
    typer.Option(
        "--hwaccel",
        metavar="NAME",
        rich_help_panel=INPUT,
        hidden=True,
        help="Hardware that helps ffmpeg to decode, such as cuda, vaapi or auto.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        rich_help_panel=INPUT,
        hidden=True,
        help=f"Live input that sends nothing for so long has ended. (default: {InputSettings.timeout:g})",
    ),
]
Renames = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="LABEL=WEIGHTS",
        rich_help_panel=INPUT,
        help="Score a class of the labels as one that the weights name otherwise, such as sidewalk=pavement, "
        "or not at all: curb=void. May be repeated.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in the output folder.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with the run in the output folder if it was cut off."),
]
Json = Annotated[bool, typer.Option("--json", rich_help_panel=OUTPUT, help="Print only a JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", rich_help_panel=OUTPUT, help="Print only the path of the output.")]
