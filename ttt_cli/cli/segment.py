"""`tttv segment`: segments a video with a model that trains itself on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ttt_cli.cli import _groups as groups
from ttt_cli.cli import _options as options
from ttt_cli.cli._many import ManyOptions
from ttt_cli.cli._run import run_all
from ttt_cli.cli._signature import with_options
from ttt_cli.core.class_names import parse_renames
from ttt_cli.model.own import STREET
from ttt_cli.run.overrides import OutputOverrides, Overrides, ReconstructionOverrides, TaskOverrides
from ttt_cli.video.settings import OutputSettings

EPILOG = """Examples:

tttv segment drive.mp4

tttv segment drive.mp4 --compare --start 10 --end 25

tttv segment frames/ --gt labels/ --out runs/scored"""


@with_options
def segment(
    sources: options.Sources,
    *,
    out: options.Out = None,
    compare: options.Compare = False,
    task: options.Task = None,
    weights: options.WeightsName = STREET,
    frames: groups.InputOptions,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--gt",
            metavar="DIR",
            rich_help_panel=options.INPUT,
            help="Score against label PNGs named like the frames; writes metrics.json.",
        ),
    ] = None,
    renames: options.Renames = None,
    adaptation: groups.AdaptationOptions,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes", metavar="A,B,...", rich_help_panel=options.OUTPUT, help="Draw and write only these classes."
        ),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="A,B,...",
            rich_help_panel=options.OUTPUT,
            help="Formats of label files: palette, coco, kitti-step. (default: by task)",
        ),
    ] = None,
    no_overlay: Annotated[
        bool, typer.Option("--no-overlay", rich_help_panel=options.OUTPUT, help="Write no overlay video.")
    ] = False,
    no_masks: Annotated[
        bool, typer.Option("--no-masks", rich_help_panel=options.OUTPUT, help="Write no masks or other label files.")
    ] = False,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", rich_help_panel=options.OUTPUT, help="Write no names in the overlay.")
    ] = False,
    alpha: Annotated[
        float | None,
        typer.Option(
            "--alpha",
            metavar="0..1",
            rich_help_panel=options.OUTPUT,
            help=f"Opacity of the colors. (default: {OutputSettings.alpha})",
        ),
    ] = None,
    run: groups.VideoRunOptions,
    compute: groups.ComputeOptions,
    many: ManyOptions,
) -> None:
    """Segment a video with a model that trains itself on the video while it predicts.

    Writes overlay.mp4, masks/, frames.jsonl and run.json; with --gt also metrics.json.
    """
    overrides = Overrides(
        input=frames.overrides(),
        task=TaskOverrides(task=task),
        adaptation=adaptation.overrides(compute),
        reconstruction=ReconstructionOverrides(mask_ratio=adaptation.training.mask_ratio),
        output=OutputOverrides(
            overlay=False if no_overlay else None,
            compare=True if compare else None,
            alpha=alpha,
            labels=False if no_labels else None,
            masks=False if no_masks else None,
            formats=_listed(formats),
            classes=_listed(classes),
        ),
        assigned=run.assigned(),
    )
    run_all(
        sources,
        overrides,
        weights=weights,
        run=run,
        compute=compute,
        many=many,
        out=out,
        truth=truth,
        renames=parse_renames(renames or []),
    )


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]
