"""`tttv segment`: segments a video with a model that trains itself on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ttt_cli.cli import _groups as groups
from ttt_cli.cli import _options as options
from ttt_cli.cli._many import ManyOptions
from ttt_cli.cli._output import Compare, OutputOptions
from ttt_cli.cli._run import run_all
from ttt_cli.cli._signature import with_options
from ttt_cli.core.class_names import parse_renames
from ttt_cli.model.own import STREET
from ttt_cli.run.overrides import Overrides, ReconstructionOverrides, TaskOverrides

EPILOG = """Examples:

tttv segment drive.mp4

tttv segment drive.mp4 --compare --start 10 --end 25

tttv segment frames/ --gt labels/ --out runs/scored"""


@with_options
def segment(
    sources: options.Sources,
    *,
    out: options.Out = None,
    compare: Compare = False,
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
    output: OutputOptions,
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
        output=output.overrides(compare),
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
