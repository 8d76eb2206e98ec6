"""`tttv colorize`: colors a black-and-white video with a model that trains itself on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.cli import _groups as groups
from ttt_cli.cli import _options as options
from ttt_cli.cli._many import ManyOptions
from ttt_cli.cli._output import Compare, Layout, chosen_layout
from ttt_cli.cli._run import run_all
from ttt_cli.cli._signature import with_options
from ttt_cli.model.own import COLOR
from ttt_cli.run.overrides import OutputOverrides, Overrides, ReconstructionOverrides, TaskOverrides
from ttt_cli.tasks.settings import TaskSettings

EPILOG = """Examples:

tttv colorize lumiere.mp4

tttv colorize lumiere.mp4 --compare --start 8 --saturation 1.3

tttv colorize holiday.mp4 --gray-first --smooth"""


@with_options
def colorize(
    sources: options.Sources,
    *,
    out: options.Out = None,
    compare: Compare = False,
    weights: options.WeightsName = COLOR,
    frames: groups.InputOptions,
    crop: Annotated[
        str | None,
        typer.Option(
            "--crop",
            metavar="auto|none|WxH+X+Y",
            rich_help_panel=options.INPUT,
            help=f"Part of each frame to color; auto leaves dark borders out. (default: {TaskSettings.crop})",
        ),
    ] = None,
    gray_first: Annotated[
        bool,
        typer.Option(
            "--gray-first",
            rich_help_panel=options.INPUT,
            help="Score against the input's own colors; writes metrics.json.",
        ),
    ] = False,
    adaptation: groups.AdaptationOptions,
    layout: Layout = None,
    saturation: Annotated[
        float | None,
        typer.Option(
            "--saturation",
            metavar="S",
            rich_help_panel=options.OUTPUT,
            help="Multiply the predicted colors by S: 1 leaves them as they are, pale; 0 is gray. "
            f"(default: {TaskSettings.saturation:g}, or as the weights recommend)",
        ),
    ] = None,
    smooth: Annotated[
        bool,
        typer.Option(
            "--smooth", rich_help_panel=options.OUTPUT, help="Average the colors of three frames within a scene."
        ),
    ] = False,
    run: groups.VideoRunOptions,
    compute: groups.ComputeOptions,
    many: ManyOptions,
) -> None:
    """Color a black-and-white video with a model that trains itself on the video while it predicts.

    Lightness is kept from the input; dark borders and title cards stay gray. Writes overlay.mp4 (the colored film),
    frames.jsonl and run.json; with --gray-first also metrics.json.
    """
    if smooth:
        adaptation = replace(
            adaptation, method=f"{adaptation.method or _usual_method(weights, compute.allow_pickle)}+smoothing"
        )
    overrides = Overrides(
        input=frames.overrides(),
        task=TaskOverrides(task="colorization", crop=crop, saturation=saturation),
        adaptation=adaptation.overrides(compute),
        reconstruction=ReconstructionOverrides(mask_ratio=adaptation.training.mask_ratio),
        output=OutputOverrides(layout=chosen_layout(compare, layout)),
        assigned=run.assigned(),
    )
    run_all(sources, overrides, weights=weights, run=run, compute=compute, many=many, out=out, gray_first=gray_first)


def _usual_method(weights: str, allow_pickle: bool) -> str:
    """The method that the weights recommend."""
    from ttt_cli.model.opening import open_weights

    method: str = open_weights(weights, allow_pickle).adaptation.get("method", AdaptationSettings.method)
    return method
