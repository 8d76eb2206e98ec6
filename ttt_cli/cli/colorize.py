"""`tttv colorize`: a black-and-white video in colour, by a model that trains itself on it."""

from __future__ import annotations

from typing import Annotated

import typer

from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.cli import _options as options
from ttt_cli.cli.segment import build_request, finish
from ttt_cli.model.weights import COLOR
from ttt_cli.tasks.settings import TaskSettings
from ttt_cli.video.settings import OutputSettings

EPILOG = """Examples:

tttv colorize lumiere.mp4

tttv colorize lumiere.mp4 --compare --start 8 --saturation 1.3

tttv colorize holiday.mp4 --gray-first --smooth"""


def colorize(
    source: options.Source,
    method: options.Method = None,
    window: options.Window = None,
    steps: options.Steps = None,
    batch: options.Batch = None,
    mask_ratio: options.MaskRatio = None,
    learning_rate: options.LearningRate = None,
    cuts: options.Cuts = None,
    seed: options.Seed = None,
    weights: options.WeightsName = COLOR,
    out: options.Out = None,
    device: options.DeviceName = options.Device.auto,
    precision: options.PrecisionName = options.Precision.auto,
    size: options.Size = None,
    start: options.Start = None,
    end: options.End = None,
    stride: options.Stride = None,
    max_frames: options.MaxFrames = None,
    fps: options.Fps = None,
    crop: Annotated[
        str | None,
        typer.Option(
            "--crop",
            metavar="auto|none|WxH+X+Y",
            help=f"What part of the frames is coloured; auto leaves dark borders out. (default: {TaskSettings.crop})",
        ),
    ] = None,
    saturation: Annotated[
        float | None,
        typer.Option("--saturation", metavar="S", help=f"Colours times S. (default: {OutputSettings.saturation:g})"),
    ] = None,
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Average the colours of three frames, within a scene.")
    ] = False,
    gray_first: Annotated[
        bool,
        typer.Option("--gray-first", help="Colours of the input's own are the truth; writes metrics.json."),
    ] = False,
    compare: options.Compare = False,
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Colour a black-and-white video with a model that trains itself on it while it colours.

    Lightness stays as it is in the input; dark borders and title cards stay grey. Writes overlay.mp4, the film in
    colour, frames.jsonl and run.json, and with --gray-first also metrics.json.
    """
    chosen = {
        "input": options.input_table(start, end, stride, max_frames, fps, size),
        "task": {"task": "colorization", "crop": crop},
        "adaptation": options.adaptation_table(
            method=f"{method or AdaptationSettings.method}+smoothing" if smooth else method,
            window=window,
            steps=steps,
            batch=batch,
            learning_rate=learning_rate,
            cuts=cuts,
            seed=seed,
            precision=precision,
        ),
        "reconstruction": {"mask_ratio": mask_ratio},
        "output": {"saturation": saturation, "compare": True if compare else None},
    }
    request = build_request(
        source,
        chosen,
        weights=weights,
        config=config,
        device=device,
        out=out,
        gray_first=gray_first,
        overwrite=overwrite,
    )
    finish(request, as_json=as_json, quiet=quiet)
